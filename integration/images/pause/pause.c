/*
 * The process that keeps a pod's namespaces open.
 *
 * It waits without using the processor, reaps every child that is handed to
 * it (it is process 1 when the pod's containers share one PID namespace), and
 * ends with code 0 on SIGTERM or SIGINT.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

int main(void)
{
	sigset_t wanted;

	/* Blocked signals stay pending, even for process 1 with no handlers. */
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &wanted, NULL) != 0) {
		perror("block signals");
		return 1;
	}

	for (;;) {
		int got = sigwaitinfo(&wanted, NULL);

		if (got < 0) {
			if (errno == EINTR)
				continue;
			perror("wait for a signal");
			return 1;
		}
		if (got != SIGCHLD)
			return 0;
		/* One SIGCHLD may stand for several children. */
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}
