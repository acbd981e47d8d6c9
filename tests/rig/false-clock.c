/* A wrong clock for one program (LD_PRELOAD). The file /etc/false-clock says
 *
 *     OFFSET SYNCED
 *
 * how many seconds its clock is off, and whether the kernel says that somebody keeps it. It is read
 * at every look at the clock. The kernel is asked all the same: what it refuses stays refused. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static long long off(int *synced)
{
    char text[64] = { 0 }, *end;
    int file = open("/etc/false-clock", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    if (read(file, text, sizeof text - 1) < 0)
        text[0] = 0;
    close(file);
    long long offset = strtoll(text, &end, 10);
    if (synced)
        *synced = strtol(end, 0, 10) != 0;
    return offset;
}

int clock_gettime(clockid_t id, struct timespec *time)
{
    int result = syscall(SYS_clock_gettime, id, time);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        time->tv_sec += off(0);
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    int result = syscall(SYS_gettimeofday, time, zone);
    if (result == 0)
        time->tv_sec += off(0);
    return result;
}

time_t time(time_t *into)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into)
        *into = now.tv_sec;
    return now.tv_sec;
}

/* As the C library does it. */
int clock_adjtime(clockid_t id, struct timex *state)
{
    int synced = 0, result = syscall(SYS_clock_adjtime, id, state);
    if (result < 0)
        return result;
    off(&synced);
    state->status = synced ? STA_PLL : STA_UNSYNC;
    /* As the kernel has it where nobody keeps the clock: NTP_PHASE_LIMIT. */
    state->maxerror = synced ? 20000 : 16000000;
    return synced ? TIME_OK : TIME_ERROR;
}

int adjtimex(struct timex *state)
{
    return clock_adjtime(CLOCK_REALTIME, state);
}
