/* What gyrostat.probes.moments reads of dense arrays, in one pass over memory.

Arrays are read in blocks that stay in the first-level cache. Within one, powers of x − pivot are summed in float32; the
pivot is the mean of the block before (of the first block its own), so that neither a large mean nor an outlier costs the
central moments their digits. Blocks are put together in float64. Compilers vectorize the loops where they may reorder
sums (-fassociative-math); what is not finite is told by its bits, and summed apart.
*/
#include "formats.h"

#define SMALLEST 0x1p-24f /* of a block's largest magnitude: its fourth powers are normal numbers */
#define LARGEST 0x1p28f   /* and their sum does not overflow */

#define CENTRED 1.0       /* where the squared mean is more than so many variances, its powers cost digits */

static Sums block_sums(const float *x, int64_t n, float pivot) {
    float d1 = 0, d2 = 0, d3 = 0, d4 = 0;
    int32_t top = 0, nonzero = 0;
    for (int64_t i = 0; i < n; i++) {
        const float d = x[i] - pivot, square = d * d;
        const int32_t bits = magnitude_bits(x[i]);
        d1 += d;
        d2 += square;
        d3 += square * d;
        d4 += square * square;
        top = bits > top ? bits : top;
        nonzero += bits < 1 ? bits : 1;
    }
    return (Sums){d1, d2, d3, d4, top, n - nonzero};
}

/* Adds Σx^k to the row, from Σ(x − c)^k. */
static void add_powers(double *row, double n, double c, const Sums *sums) {
    const double d1 = sums->d1, d2 = sums->d2, d3 = sums->d3, d4 = sums->d4;
    row[0] += d1;
    row[1] += d2;
    row[2] += d3;
    row[3] += d4;
    if (c == 0) /* infinite sums stay infinite */
        return;
    row[0] += n * c;
    row[1] += c * (2 * d1 + n * c);
    row[2] += c * (3 * d2 + c * (3 * d1 + n * c));
    row[3] += c * (4 * d3 + c * (6 * d2 + c * (4 * d1 + n * c)));
}

static double mean(const float *x, int64_t n) {
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

float gyrostat_next_pivot(const Sums *sums, double n, double c) {
    const double away = sums->d1 / n, middle = c + away, variance = sums->d2 / n - away * away;
    return middle * middle > CENTRED * variance ? (float)middle : 0;
}

float gyrostat_pivot(const float *x, int64_t n) {
    float total = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        total += x[i];
        squares += x[i] * x[i];
    }
    const Sums sums = {.d1 = total, .d2 = squares};
    const float found = gyrostat_next_pivot(&sums, (double)n, 0);
    return magnitude_bits(found) < INFINITE ? found : 0;
}

int gyrostat_held(int32_t top, float pivot) {
    const float largest = from_bits((uint32_t)top), low = pivot < 0 ? -pivot : pivot, span = largest > low ? largest : low;
    return top < INFINITE && span >= SMALLEST && span <= LARGEST;
}

void gyrostat_add_sums(double *row, double n, double c, const Sums *sums) {
    const double largest = from_bits((uint32_t)sums->top);
    row[5] += (double)sums->zeros;
    if (largest > row[4]) /* false where a NaN was */
        row[4] = largest;
    add_powers(row, n, c, sums);
}

/* A block that holds NaN or an infinity: they go into the sums, and NaN into the largest magnitude too. */
static void add_nonfinite(double *row, const float *x, int64_t n, int32_t top) {
    for (int64_t i = 0; i < n; i++) {
        const double value = x[i], square = value * value;
        row[0] += value;
        row[1] += square;
        row[2] += square * value;
        row[3] += square * square;
        row[6] += magnitude_bits(x[i]) >= INFINITE;
    }
    const double largest = from_bits((uint32_t)top);
    if (top > INFINITE || largest > row[4])
        row[4] = largest;
}

/* The power of two that brings `largest` near 1; exact, and never a denormal. */
static float scale_for(float largest) {
    const int32_t exponent = (magnitude_bits(largest) >> 23) - 127;
    const int32_t wanted = exponent < -126 ? 126 : -exponent;
    return from_bits((uint32_t)(127 + (wanted < -126 ? -126 : wanted)) << 23);
}

/* A block whose powers float32 does not hold: scaled, summed, and scaled back in float64. */
static void add_scaled(double *row, const float *x, int64_t n, float largest) {
    float scaled[BLOCK];
    const float scale = scale_for(largest);
    for (int64_t i = 0; i < n; i++)
        scaled[i] = x[i] * scale;
    const double pivot = mean(scaled, n), back = 1 / (double)scale;
    const Sums sums = block_sums(scaled, n, (float)pivot);
    double powers[4] = {0, 0, 0, 0};
    add_powers(powers, (double)n, (float)pivot, &sums);
    row[0] += powers[0] * back;
    row[1] += powers[1] * back * back;
    row[2] += powers[2] * back * back * back;
    row[3] += powers[3] * back * back * back * back;
}

void gyrostat_add_block(double *row, const float *x, int64_t n, float *pivot) {
    const Sums sums = block_sums(x, n, *pivot);
    if ((sums.top == 0 && *pivot == 0) || gyrostat_held(sums.top, *pivot)) {
        gyrostat_add_sums(row, (double)n, *pivot, &sums);
        *pivot = gyrostat_next_pivot(&sums, (double)n, *pivot);
        return;
    }
    row[5] += (double)sums.zeros;
    if (sums.top >= INFINITE) {
        add_nonfinite(row, x, n, sums.top);
        return;
    }
    const float largest = from_bits((uint32_t)sums.top), low = *pivot < 0 ? -*pivot : *pivot;
    if (largest > row[4])
        row[4] = largest;
    add_scaled(row, x, n, largest > low ? largest : low);
    *pivot = 0;
}

/* Reads an array that is not float64 into a row. */
static void read_narrow(double *row, const void *data, int64_t n, int32_t kind) {
    float wide[BLOCK], pivot = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t length = n - at < BLOCK ? n - at : BLOCK;
        const float *x = opened(wide, data, at, length, kind);
        if (at == 0)
            pivot = gyrostat_pivot(x, length);
        gyrostat_add_block(row, x, length, &pivot);
    }
}

static void read_float64(double *row, const double *x, int64_t n) {
    double largest = 0, sum = 0;
    int64_t zeros = 0, nonfinite = 0, nan = 0;
    for (int64_t i = 0; i < n; i++) {
        const double magnitude = x[i] < 0 ? -x[i] : x[i];
        largest = magnitude > largest ? magnitude : largest;
        zeros += x[i] == 0;
        nonfinite += !(magnitude < (double)__builtin_inf());
        nan += x[i] != x[i];
        sum += x[i];
    }
    const double pivot = nonfinite > 0 ? 0 : sum / (double)n;
    Sums sums = {0, 0, 0, 0, 0, 0};
    for (int64_t i = 0; i < n; i++) {
        const double d = x[i] - pivot, square = d * d;
        sums.d1 += d;
        sums.d2 += square;
        sums.d3 += square * d;
        sums.d4 += square * square;
    }
    add_powers(row, (double)n, pivot, &sums);
    row[4] = nan > 0 ? (double)__builtin_nan("") : largest;
    row[5] = (double)zeros;
    row[6] = (double)nonfinite;
}

/* One row for each of `count` arrays: `kinds` tells their number formats, `lengths` how many elements they have. */
void gyrostat_moments(int64_t count, const void *const *data, const int64_t *lengths, const int32_t *kinds,
                      double *rows) {
    memset(rows, 0, (size_t)count * COLUMNS * sizeof *rows);
    for (int64_t i = 0; i < count; i++) {
        double *row = rows + i * COLUMNS;
        if (lengths[i] == 0)
            continue;
        if (kinds[i] == FLOAT64)
            read_float64(row, data[i], lengths[i]);
        else
            read_narrow(row, data[i], lengths[i], kinds[i]);
    }
}
