package cli

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/config"
)

func configCommand(e *env) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Print or validate configuration", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(configPrint(e), configValidate(e))
	return c
}

func configPrint(e *env) *cobra.Command {
	var file string
	var running bool
	c := &cobra.Command{
		Use: "print", Short: "Print every key with its meaning and value", Args: noArgs,
		Long: `Print every key with its meaning and its value: the default, or with --config
what a file makes of it, or with --running what the running agent uses. The
output is a valid configuration file.`,
		Example: "  merlon config print > merlon.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			var text string
			switch {
			case running && file != "":
				return &usageError{fmt.Errorf("--config and --running exclude each other")}
			case running:
				cl := e.client()
				defer cl.Close()
				t, err := cl.Text(c.Context(), api.PathConfig)
				if err != nil {
					return err
				}
				text = t
			default:
				cfg, err := loadConfig(file)
				if err != nil {
					return err
				}
				var b bytes.Buffer
				if err := cfg.Print(&b); err != nil {
					return err
				}
				text = b.String()
			}
			if e.json {
				cfg, err := config.Decode("configuration", []byte(text))
				if err != nil {
					return err
				}
				return e.out.json(cfg)
			}
			e.out.line(strings.TrimSuffix(safeLines(text), "\n"))
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "file to print the effect of")
	c.Flags().BoolVar(&running, "running", false, "ask the running agent")
	jsonFlag(e, c)
	socketFlag(e, c)
	return c
}

func configValidate(e *env) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "validate FILE", Short: "Tell every mistake in a configuration file",
		Args: func(c *cobra.Command, args []string) error {
			if file != "" {
				args = append(args, file)
			}
			if len(args) != 1 {
				return &usageError{fmt.Errorf("%s takes one file", c.CommandPath())}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			args = append(args, file) // the one or the other
			_, err := config.Load(args[0])
			if e.json {
				return printMistakes(e, err)
			}
			if err != nil {
				return err
			}
			e.out.linef("%s is valid", safeLines(args[0]))
			return nil
		},
	}
	c.Flags().StringVar(&file, "config", "", "the file, as for the other commands")
	jsonFlag(e, c)
	return c
}

// printMistakes prints the result of a validation as JSON.
func printMistakes(e *env, err error) error {
	type mistake struct {
		File   string `json:"file"`
		Line   int    `json:"line"`
		Column int    `json:"column"`
		Key    string `json:"key"`
		Msg    string `json:"error"`
	}
	list := []mistake{}
	errs, ok := err.(config.Errors)
	if err != nil && !ok {
		return err
	}
	for _, m := range errs {
		list = append(list, mistake{m.File, m.Line, m.Column, m.Key, m.Msg})
	}
	if err := e.out.json(list); err != nil {
		return err
	}
	if len(list) > 0 {
		return errSilent
	}
	return nil
}

// loadConfig reads a file, or takes the defaults when there is none.
func loadConfig(file string) (*config.Config, error) {
	if file == "" {
		return config.Default(), nil
	}
	return config.Load(file)
}
