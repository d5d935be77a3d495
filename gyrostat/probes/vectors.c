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

/* Copies float32 arrays, and tells their norms. */
void gyrostat_copy(int64_t count, const void *const *from, void *const *to, const int64_t *lengths, double *norms) {
    for (int64_t i = 0; i < count; i++) {
        double squares = 0;
        for (int64_t at = 0; at < lengths[i]; at += BLOCK) {
            const int64_t length = lengths[i] - at < BLOCK ? lengths[i] - at : BLOCK;
            const float *x = (const float *)from[i] + at;
            squares += read_block(x, length).squares;
            memcpy((float *)to[i] + at, x, (size_t)length * sizeof *x);
        }
        norms[i] = sqrt(squares);
    }
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

/* Norms of float32 arrays and of their ways from what they were `before`; where `keep` is set, `before` becomes what they
   are now. */
void gyrostat_ways(int64_t count, const void *const *now, void *const *before, const int64_t *lengths, int32_t keep,
                   double *norms, double *ways) {
    for (int64_t i = 0; i < count; i++) {
        double sums[2] = {0, 0};
        for (int64_t at = 0; at < lengths[i]; at += BLOCK) {
            const int64_t length = lengths[i] - at < BLOCK ? lengths[i] - at : BLOCK;
            const float *x = (const float *)now[i] + at;
            float *old = (float *)before[i] + at;
            read_way(sums, x, old, length);
            if (keep)
                memcpy(old, x, (size_t)length * sizeof *x);
        }
        norms[i] = sqrt(sums[0]);
        ways[i] = sqrt(sums[1]);
    }
}

/* Numbers over others, in float32; `missing` where these are 0. */
void gyrostat_quotients(int64_t count, const double *above, const double *below, uint32_t missing, uint32_t *found) {
    for (int64_t i = 0; i < count; i++)
        found[i] = below[i] != 0 ? bits_of((float)(above[i] / below[i])) : missing;
}

enum { SAMPLES = 8 }; /* each is a wait for memory */

/* Whether float32 arrays hold, at places spread over them, the very bits that the others do; a byte for each. */
void gyrostat_alike(int64_t count, const void *const *these, const void *const *those, const int64_t *lengths,
                    uint8_t *alike) {
    for (int64_t i = 0; i < count; i++) {
        const int32_t *x = these[i], *y = those[i];
        const int64_t stride = lengths[i] / SAMPLES + 1;
        alike[i] = lengths[i] == 0 || x[lengths[i] - 1] == y[lengths[i] - 1];
        for (int64_t j = 0; j < lengths[i]; j += stride)
            alike[i] &= x[j] == y[j];
    }
}
