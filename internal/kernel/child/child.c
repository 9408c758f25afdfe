//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The canaries' child: a program of a few hundred bytes that starts in no
 * time and needs nothing. It exits with the errno of what it was told to do:
 *
 *	child		write one byte to standard output
 *	child e FILE	execute FILE
 *	child 4		connect a UDP socket to 127.0.0.1, port 9 (sends nothing)
 *	child 6		connect a UDP socket to ::1, port 9
 *
 * Built as flat position-independent code; Go puts the ELF header before it.
 */
#if defined(__x86_64__)
#define NR_WRITE 1
#define NR_SOCKET 41
#define NR_CONNECT 42
#define NR_EXECVE 59
#define NR_EXIT 60

static inline long sys(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return ret;
}

/* First in .text, where the flat image is entered; child is local, so no relocation is left. */
__asm__(".text\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call child\n");
#elif defined(__aarch64__)
#define NR_WRITE 64
#define NR_EXIT 93
#define NR_SOCKET 198
#define NR_CONNECT 203
#define NR_EXECVE 221

static inline long sys(long nr, long a, long b, long c)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
}

__asm__(".text\n"
	"	mov x0, sp\n"
	"	bl child\n");
#endif

#define AF_INET 2
#define AF_INET6 10
#define SOCK_DGRAM 2
#define LOOPBACK 0x0100007f
#define PORT 0x0900

/* Filled field by field: there is no room for constant data. */
static long dial(int family)
{
	volatile unsigned int addr[7];
	long fd = sys(NR_SOCKET, family, SOCK_DGRAM, 0);
	int i;

	if (fd < 0)
		return fd;
	for (i = 0; i < 7; i++)
		addr[i] = 0;
	addr[0] = family | PORT << 16;
	if (family == AF_INET) {
		addr[1] = LOOPBACK;
		return sys(NR_CONNECT, fd, (long)addr, 16);
	}
	addr[5] = 1u << 24;
	return sys(NR_CONNECT, fd, (long)addr, 28);
}

__attribute__((used, noreturn)) static void child(long *stack)
{
	char **argv = (char **)(stack + 1);
	long ret;

	if (stack[0] < 2)
		ret = sys(NR_WRITE, 1, (long)argv[0], 1) - 1;
	else if (argv[1][0] == 'e')
		ret = sys(NR_EXECVE, (long)argv[2], (long)(argv + 2), 0);
	else
		ret = dial(argv[1][0] == '4' ? AF_INET : AF_INET6);
	for (;;)
		sys(NR_EXIT, -ret, 0, 0);
}
