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

/* A row is ‖x‖, max|x| (NaN where an element is), the number of zeros and that of elements that are not finite. */
static void read_magnitudes(double *row, const void *data, int64_t n, int32_t kind) {
    float wide[BLOCK];
    int32_t top = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t length = n - at < BLOCK ? n - at : BLOCK;
        const float *x = opened(wide, data, at, length, kind);
        const Block block = read_block(x, length);
        row[0] += block.squares;
        row[2] += block.zeros;
        top = block.top > top ? block.top : top;
        if (block.top >= INFINITE)
            for (int64_t i = 0; i < length; i++)
                row[3] += magnitude_bits(x[i]) >= INFINITE;
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

enum { RUN = 16 };

/* What gyrostat.probes.trail follows of a float32 array: `runs` of RUN elements, from each other by a `stride`; of small
   arrays all, and no runs. */
typedef struct {
    int64_t runs, stride, taken;
} Followed;

static Followed followed(int64_t n) {
    const int64_t runs = n / 1024 > 1024 ? n / 1024 : 1024;
    return n <= 65536 ? (Followed){0, 0, n} : (Followed){runs, (n / runs - 1) | 1, runs * RUN};
}

/* Copies what is followed of arrays, one after the other, and tells their norms. */
void gyrostat_sample(int64_t count, const void *const *arrays, const int64_t *lengths, float *elements, double *norms) {
    for (int64_t i = 0; i < count; i++) {
        const Followed of = followed(lengths[i]);
        norms[i] = sqrt(gyrostat_squares(arrays[i], lengths[i], FLOAT32));
        for (int64_t j = 0; j < of.runs; j++)
            memcpy(elements + j * RUN, (const float *)arrays[i] + j * of.stride, RUN * sizeof *elements);
        if (of.runs == 0)
            memcpy(elements, arrays[i], (size_t)of.taken * sizeof *elements);
        elements += of.taken;
    }
}

/* Σ(x − old)² over some runs; `old` becomes x. */
static double way_of_runs(const float *x, float *old, int64_t runs, int64_t stride) {
    float lanes[RUN] = {0};
    int32_t farthest[RUN] = {0}, far = 0;
    double squares = 0;
    for (int64_t i = 0; i < runs; i++)
        for (int32_t j = 0; j < RUN; j++) {
            const float away = x[i * stride + j] - old[i * RUN + j];
            const int32_t bits = magnitude_bits(away);
            lanes[j] += away * away;
            farthest[j] = bits > farthest[j] ? bits : farthest[j];
        }
    for (int32_t j = 0; j < RUN; j++) {
        squares += (double)lanes[j];
        far = farthest[j] > far ? farthest[j] : far;
    }
    if (!held_by_float32(far)) {
        squares = 0;
        for (int64_t i = 0; i < runs * RUN; i++) {
            const double away = (double)x[i / RUN * stride + i % RUN] - (double)old[i];
            squares += away * away;
        }
    }
    for (int64_t i = 0; i < runs; i++)
        memcpy(old + i * RUN, x + i * stride, RUN * sizeof *x);
    return squares;
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

/* Of one array: Σx², and Σ(x − old)² of what is followed, which becomes what it is now; one pass over memory. */
static void read_followed(double sums[2], const float *x, float *old, int64_t n) {
    const Followed of = followed(n);
    for (int64_t at = 0, run = 0, length; at < n; at += length) {
        length = n - at < BLOCK ? n - at : BLOCK;
        if (of.runs == 0) {
            read_way(sums, x + at, old + at, length);
            memcpy(old + at, x + at, (size_t)length * sizeof *x);
            continue;
        }
        const int64_t until = (at + length + of.stride - 1) / of.stride, end = until < of.runs ? until : of.runs;
        for (int64_t i = run; i < end; i++)
            __builtin_prefetch(old + i * RUN, 1); /* is there when the block has been read */
        sums[0] += read_block(x + at, length).squares;
        sums[1] += way_of_runs(x + run * of.stride, old + run * RUN, end - run, of.stride);
        run = end;
    }
}

/* Norms of float32 arrays, and of their ways from what the followed elements were, which become what they are now. */
void gyrostat_ways(int64_t count, const void *const *arrays, const int64_t *lengths, float *elements, double *norms,
                   double *ways) {
    for (int64_t i = 0; i < count; i++) {
        const int64_t taken = followed(lengths[i]).taken;
        double sums[2] = {0, 0};
        read_followed(sums, arrays[i], elements, lengths[i]);
        norms[i] = sqrt(sums[0]);
        ways[i] = taken > 0 ? sqrt(sums[1] * (double)lengths[i] / (double)taken) : 0;
        elements += taken;
    }
}

enum { LOOKS = 8 }; /* each is a wait for memory */

/* Whether arrays hold, at places spread over what is followed of them, the very bits that they did. */
int32_t gyrostat_alike(int64_t count, const void *const *arrays, const int64_t *lengths, const float *elements) {
    int32_t different = 0;
    for (int64_t i = 0; i < count; i++) {
        const Followed of = followed(lengths[i]);
        const float *const x = arrays[i];
        for (int64_t j = 0; j < of.taken; j += of.taken / LOOKS + 1) {
            const int64_t place = of.runs > 0 ? j / RUN * of.stride + j % RUN : j;
            different |= bits_of(x[place]) != bits_of(elements[j]);
        }
        elements += of.taken;
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
