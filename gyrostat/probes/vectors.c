/* What gyrostat.probes.magnitudes, .norms and .weights read of dense arrays, in one pass over memory.

Squares are summed in float32 within blocks that stay in the first-level cache, and from there on in float64; a block
whose squares float32 does not hold, and one that is not finite, is summed in float64 altogether.
*/
#include "formats.h"

#define LEAST_BITS 0x26800000    /* 2^-50 */
#define GREATEST_BITS 0x58800000 /* 2^50 */

/* Of a block: Σx², the bits of max|x|, and the number of zeros. */
typedef struct {
    double squares;
    int32_t top;
    int32_t zeros;
} Block;

static double wide_squares(const float *x, int64_t n) {
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    return squares;
}

static int held_by_float32(int32_t top) {
    return top == 0 || (top > LEAST_BITS && top < GREATEST_BITS);
}

static Block read_block(const float *x, int64_t n) {
    float squares = 0;
    int32_t top = 0, zeros = 0;
    for (int64_t i = 0; i < n; i++) {
        const int32_t bits = magnitude_bits(x[i]);
        squares += x[i] * x[i];
        top = bits > top ? bits : top;
        zeros += bits == 0;
    }
    return (Block){held_by_float32(top) ? (double)squares : wide_squares(x, n), top, zeros};
}

enum { STREAMS = 4, SHARE = BLOCK / STREAMS, MANY = 8 * BLOCK };

/* Of `n` elements in each of four places, `apart` from each other: a processor gets more from memory in several streams. */
static Block read_streams(const float *x, int64_t apart, int64_t n) {
    const float *const y = x + apart, *const z = y + apart, *const w = z + apart;
    float squares = 0;
    int32_t top = 0, zeros = 0;
    for (int64_t i = 0; i < n; i++) {
        const int32_t a = magnitude_bits(x[i]), b = magnitude_bits(y[i]), c = magnitude_bits(z[i]), d = magnitude_bits(w[i]);
        const int32_t ab = a > b ? a : b, cd = c > d ? c : d, most = ab > cd ? ab : cd;
        squares += x[i] * x[i] + y[i] * y[i] + z[i] * z[i] + w[i] * w[i];
        top = most > top ? most : top;
        zeros += (a == 0) + (b == 0) + (c == 0) + (d == 0);
    }
    if (held_by_float32(top))
        return (Block){(double)squares, top, zeros};
    return (Block){wide_squares(x, n) + wide_squares(y, n) + wide_squares(z, n) + wide_squares(w, n), top, zeros};
}

static double nonfinite_of(const float *x, int64_t n) {
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++)
        found += magnitude_bits(x[i]) >= INFINITE;
    return (double)found;
}

/* A row is ‖x‖, max|x| (NaN where an element is), the number of zeros and that of elements that are not finite. */
static void read_magnitudes(double *row, const void *data, int64_t n, int32_t kind) {
    float wide[BLOCK];
    int32_t top = 0;
    const int64_t apart = kind == FLOAT32 && n >= MANY ? n / STREAMS : 0;
    for (int64_t at = 0; at < apart; at += SHARE) {
        const int64_t length = apart - at < SHARE ? apart - at : SHARE;
        const float *const x = (const float *)data + at;
        const Block block = read_streams(x, apart, length);
        row[0] += block.squares;
        row[2] += block.zeros;
        top = block.top > top ? block.top : top;
        for (int64_t i = 0; block.top >= INFINITE && i < STREAMS; i++)
            row[3] += nonfinite_of(x + i * apart, length);
    }
    for (int64_t at = STREAMS * apart; at < n; at += BLOCK) {
        const int64_t length = n - at < BLOCK ? n - at : BLOCK;
        const float *const x = opened(wide, data, at, length, kind);
        const Block block = read_block(x, length);
        row[0] += block.squares;
        row[2] += block.zeros;
        top = block.top > top ? block.top : top;
        if (block.top >= INFINITE)
            row[3] += nonfinite_of(x, length);
    }
    row[0] = sqrt(row[0]);
    row[1] = from_bits((uint32_t)top);
}

static void read_wide_magnitudes(double *row, const double *x, int64_t n) {
    double squares = 0, largest = 0;
    int64_t zeros = 0, nonfinite = 0, nan = 0;
    for (int64_t i = 0; i < n; i++) {
        const double magnitude = x[i] < 0 ? -x[i] : x[i];
        squares += magnitude * magnitude;
        largest = magnitude > largest ? magnitude : largest;
        zeros += x[i] == 0;
        nonfinite += !(magnitude < (double)__builtin_inf());
        nan += x[i] != x[i];
    }
    row[0] = sqrt(squares);
    row[1] = nan > 0 ? (double)__builtin_nan("") : largest;
    row[2] = (double)zeros;
    row[3] = (double)nonfinite;
}

/* A row of four for each of `count` arrays: `kinds` tells their number formats, `lengths` how many elements they have. */
void gyrostat_magnitudes(int64_t count, const void *const *data, const int64_t *lengths, const int32_t *kinds,
                         double *rows) {
    memset(rows, 0, (size_t)count * 4 * sizeof *rows);
    for (int64_t i = 0; i < count; i++) {
        if (kinds[i] == FLOAT64)
            read_wide_magnitudes(rows + 4 * i, data[i], lengths[i]);
        else
            read_magnitudes(rows + 4 * i, data[i], lengths[i], kinds[i]);
    }
}

/* Least-squares slope of ln(norm) over depth, of `count` norms that lie at `at` among all; those that have no logarithm do
   not take part. `missing` of fewer than two. */
static uint32_t log_slope(int64_t count, const int64_t *at, const double *depths, const double *rows, uint32_t missing) {
    double taken = 0, depth = 0, mean = 0, above = 0, below = 0;
    for (int64_t i = 0; i < count; i++) {
        const double norm = rows[4 * at[i]];
        if (!(norm > 0 && norm < (double)__builtin_inf()))
            continue;
        taken += 1;
        depth += depths[i];
        mean += log(norm);
    }
    if (taken < 2)
        return missing;
    depth /= taken;
    mean /= taken;
    for (int64_t i = 0; i < count; i++) {
        const double norm = rows[4 * at[i]];
        if (!(norm > 0 && norm < (double)__builtin_inf()))
            continue;
        above += (depths[i] - depth) * (log(norm) - mean);
        below += (depths[i] - depth) * (depths[i] - depth);
    }
    return bits_of((float)(above / below));
}

/* What gyrostat.probes.gradients tells of `count` gradients, in float32: of each, at its place in five columns of `width`
   elements (norm, max|x|, non-finite elements, share of zeros, norm over the weight's); after the columns, the norm of
   all, and the slope of the `layers` rows at `at`. `missing` are the bits of what there is not. */
void gyrostat_gradients(int64_t count, const void *const *data, const int64_t *lengths, const int32_t *kinds,
                        const double *weights, const int64_t *places, int64_t width, int64_t layers, const int64_t *at,
                        const double *depths, uint32_t missing, double *rows, uint32_t *table) {
    double squares = 0;
    gyrostat_magnitudes(count, data, lengths, kinds, rows);
    for (int64_t i = 0; i < 5 * width; i++)
        table[i] = missing;
    for (int64_t i = 0; i < count; i++) {
        const double *const row = rows + 4 * i, length = lengths[i] > 0 ? (double)lengths[i] : 1;
        uint32_t *const place = table + places[i];
        squares += row[0] * row[0];
        place[0] = bits_of((float)row[0]);
        place[width] = bits_of((float)row[1]);
        place[2 * width] = bits_of((float)row[3]);
        place[3 * width] = bits_of((float)(row[2] / length));
        if (weights[i] != 0)
            place[4 * width] = bits_of((float)(row[0] / weights[i]));
    }
    table[5 * width] = bits_of((float)sqrt(squares));
    table[5 * width + 1] = log_slope(layers, at, depths, rows, missing);
}

/* Σx² of an array that is not float64. */
double gyrostat_squares(const void *data, int64_t n, int32_t kind) {
    float wide[BLOCK];
    double sum = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t length = n - at < BLOCK ? n - at : BLOCK;
        sum += read_block(opened(wide, data, at, length, kind), length).squares;
    }
    return sum;
}

enum { RUN = 32, AHEAD = 8, LOOKS = 8 }; /* each look is a wait for memory */

/* What gyrostat.probes.trail follows of the `n` float32 elements at an address: `runs` of RUN, from each other by a
   `stride`, or all, and no runs. Copies begin at `place`. */
typedef struct {
    int64_t address, n, runs, stride, place;
} Followed;

static const float *array(const Followed *of) {
    return (const float *)(intptr_t)of->address;
}

/* Copies what is followed of arrays, and tells their norms. */
void gyrostat_sample(int64_t count, const Followed *of, float *elements, double *norms) {
    for (int64_t i = 0; i < count; i++, of++) {
        float *const copy = elements + of->place;
        norms[i] = sqrt(gyrostat_squares(array(of), of->n, FLOAT32));
        for (int64_t j = 0; j < of->runs; j++)
            memcpy(copy + j * RUN, array(of) + j * of->stride, RUN * sizeof *copy);
        if (of->runs == 0)
            memcpy(copy, array(of), (size_t)of->n * sizeof *copy);
    }
}

/* Σ(x − old)² and Σ(x² − old²) over the runs; `old` becomes x. */
static void read_runs(double sums[2], const Followed *of, float *old) {
    double ways = 0, gains = 0;
    for (int64_t i = 0; i < of->runs; i++, old += RUN) {
        const float *const x = array(of) + i * of->stride;
        const float *const next = i + AHEAD < of->runs ? x + AHEAD * of->stride : x;
        __builtin_prefetch(next);
        __builtin_prefetch(next + RUN / 2);
        for (int32_t j = 0; j < RUN; j++) {
            const double now = (double)x[j], was = (double)old[j], away = now - was;
            ways += away * away;
            gains += away * (now + was);
            old[j] = x[j];
        }
    }
    sums[0] = ways;
    sums[1] = gains;
}

/* Σx² and Σ(x − old)² of a block, added to `sums`. */
static void read_way(double sums[2], const float *x, const float *old, int64_t n) {
    float squares = 0, ways = 0;
    int32_t top = 0, farthest = 0;
    for (int64_t i = 0; i < n; i++) {
        const float away = x[i] - old[i];
        const int32_t bits = magnitude_bits(x[i]), far = magnitude_bits(away);
        squares += x[i] * x[i];
        ways += away * away;
        top = bits > top ? bits : top;
        farthest = far > farthest ? far : farthest;
    }
    sums[0] += held_by_float32(top) ? (double)squares : wide_squares(x, n);
    if (held_by_float32(farthest)) {
        sums[1] += (double)ways;
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const double away = (double)x[i] - (double)old[i];
        sums[1] += away * away;
    }
}

/* Of arrays that are followed whole: norms, and those of the ways from `old`, which becomes what they are now. */
static void read_whole(double *norm, double *way, const float *x, float *old, int64_t n) {
    double sums[2] = {0, 0};
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t length = n - at < BLOCK ? n - at : BLOCK;
        read_way(sums, x + at, old + at, length);
        memcpy(old + at, x + at, (size_t)length * sizeof *x);
    }
    *norm = sqrt(sums[0]);
    *way = sqrt(sums[1]);
}

/* Norms of arrays, and of their ways from what the followed elements were, which become what they are now.

   Of arrays that are followed by runs a norm is what it was `before` and what the runs gained; where it is `due`, is not
   finite, or lies at the end of `paths` of more than a `limit` since all elements were read last, they are read. */
void gyrostat_ways(int64_t count, const Followed *of, const int32_t *due, double limit, float *elements,
                   const double *before, double *paths, double *norms, double *ways) {
    for (int64_t i = 0; i < count; i++, of++) {
        double sums[2];
        if (of->runs == 0) {
            read_whole(norms + i, ways + i, array(of), elements + of->place, of->n);
            continue;
        }
        read_runs(sums, of, elements + of->place);
        const double share = (double)of->n / (double)(of->runs * RUN);
        ways[i] = sqrt(sums[0] * share);
        norms[i] = sqrt(before[i] * before[i] + sums[1] * share);
        paths[i] += ways[i] / before[i];
        if (due[i] || !(paths[i] <= limit && norms[i] < (double)__builtin_inf())) {
            norms[i] = sqrt(gyrostat_squares(array(of), of->n, FLOAT32));
            paths[i] = 0;
        }
    }
}

/* Whether arrays hold, at places spread over what is followed of them, the very bits that they did. */
int32_t gyrostat_alike(int64_t count, const Followed *of, const float *elements) {
    int32_t different = 0;
    for (int64_t i = 0; i < count; i++, of++) {
        const int64_t taken = of->runs > 0 ? of->runs * RUN : of->n;
        for (int64_t j = 0; j < taken; j += taken / LOOKS + 1) {
            const int64_t at = of->runs > 0 ? j / RUN * of->stride + j % RUN : j;
            different |= bits_of(array(of)[at]) != bits_of(elements[of->place + j]);
        }
    }
    return !different;
}

/* In float32: norms, and those of ways over what norms were before, or `missing` where that is 0. */
void gyrostat_updates(int64_t count, const double *now, const double *ways, const double *before, uint32_t missing,
                      uint32_t *norms, uint32_t *ratios) {
    for (int64_t i = 0; i < count; i++) {
        norms[i] = bits_of((float)now[i]);
        ratios[i] = before[i] != 0 ? bits_of((float)(ways[i] / before[i])) : missing;
    }
}
