/* Time: a clock in nanoseconds, and a log-linear histogram with 64 steps per power of two, whose quantiles are at most
 * 1.6 % too high.
 */
#ifndef TIMING_H
#define TIMING_H
#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline double elapsed(uint64_t start, uint64_t end)
{
    return end > start ? (double)(end - start) / 1e9 : 0;
}

enum { STEPS = 64, BUCKETS = 59 * STEPS };

struct histogram {
    uint64_t count;
    uint64_t bucket[BUCKETS];
};

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
    int shift = ns < STEPS ? 0 : 63 - __builtin_clzll(ns) - 6;
    h->bucket[ns < STEPS ? ns : (uint64_t)(shift + 1) * STEPS + ((ns >> shift) & (STEPS - 1))]++;
    h->count++;
}

/* The upper edge, in microseconds, of the bucket that holds the given quantile; 0 if there is nothing. */
static inline double histogram_us(const struct histogram *h, double quantile)
{
    uint64_t wanted = (uint64_t)(quantile * (double)h->count), seen = 0;
    for (int i = 0; i < BUCKETS && h->count; i++) {
        seen += h->bucket[i];
        if (seen > wanted || seen == h->count) {
            int shift = i < STEPS ? 0 : i / STEPS - 1;
            return (double)((i < STEPS ? (uint64_t)i + 1 : (uint64_t)(i % STEPS + STEPS + 1) << shift)) / 1000.0;
        }
    }
    return 0;
}
#endif
