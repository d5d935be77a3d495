/* What gyrostat.probes.channels and .host_outputs read of a module's output, in one pass over memory: a row of moments with
two more columns, and of each channel Σx² and whether any x is not 0. And what a step's readings come to.
*/
#include "formats.h"

enum { TOGETHER = 4 };    /* rows that are read side by side */
enum { STEPS = 16 };      /* so many times they are, before their columns' squares are put together in float64 */
enum { TILE = 1024 };     /* columns whose powers are added up in float32 */
enum { COLUMNS_HELD = 16384 }; /* columns whose squares are: they stay in the second-level cache */
enum { CHANNELS = 4096 }; /* of more, the median is sought in place */
enum { SATURATED = COLUMNS, ELEMENTS, CALLS, WIDTH }; /* of a row; calls are those whose channels were read */
#define ROUNDING 1e-6     /* a variance below so much of the mean square has no shape: rounding of x⁴ would be told */
#define SQUARED 0x20000000 /* 2^-63: float32 holds the square of this and of all that is larger */

/* How to read arrays of (outer, channels, inner) elements that are not float64, and what was read of them. */
typedef struct {
    int64_t outer, channels, inner;
    float low, high; /* elements at or beyond these are saturated, where low < high */
    int32_t kind;
    int32_t measured; /* steps whose channels were read */
    double *row;
    double *squares; /* 0 where there are no channels */
    uint8_t *alive;
    int32_t *silent; /* of each channel, for how many of these steps it has been 0 */
} Reading;

/* A part of an array: `steps` times `together` rows of `width` columns. Those of a step lie `apart` elements from each
   other, so that each is a long stream through memory, and the next step's follow at a `stride`; the first one is at `at`.
   The first column is number `first` of (channels, inner), which repeat. */
typedef struct {
    const void *data;
    int64_t at, steps, together, apart, stride, width, first;
} Part;

/* Adds up to TOGETHER rows to the sums of their powers (of x, or of x − pivot where they are centred), and to those of
   each column's squares. Here the time goes: one read, and arithmetic that fits the time of reading. */
static inline __attribute__((always_inline)) void add_rows(Sums *sums, float *restrict squares,
                                                           const float *const x[TOGETHER], int64_t n, const int rows,
                                                           const int centred, float pivot) {
    const float *restrict a = x[0], *restrict b = x[1], *restrict c = x[2], *restrict d = x[3];
    float s1 = 0, s2 = 0, s3 = 0, s4 = 0;
    int32_t top = 0, nonzero = 0;
    for (int64_t i = 0; i < n; i++) {
        float v[TOGETHER] = {a[i], rows > 1 ? b[i] : 0, rows > 1 ? c[i] : 0, rows > 1 ? d[i] : 0}, q[TOGETHER];
        for (int32_t j = 0; j < rows; j++) {
            const int32_t bits = magnitude_bits(v[j]);
            top = bits > top ? bits : top;
            nonzero += bits < 1 ? bits : 1;
            q[j] = v[j] * v[j];
        }
        squares[i] += rows > 1 ? (q[0] + q[1]) + (q[2] + q[3]) : q[0];
        if (centred)
            for (int32_t j = 0; j < rows; j++) {
                v[j] -= pivot;
                q[j] = v[j] * v[j];
                s2 += q[j];
            }
        s1 += rows > 1 ? (v[0] + v[1]) + (v[2] + v[3]) : v[0];
        for (int32_t j = 0; j < rows; j++) {
            s3 += q[j] * v[j];
            s4 += q[j] * q[j];
        }
    }
    sums->d1 += (double)s1;
    sums->d2 += (double)s2;
    sums->d3 += (double)s3;
    sums->d4 += (double)s4;
    sums->top = top > sums->top ? top : sums->top;
    sums->zeros += rows * n - nonzero;
}

static void add_some_rows(Sums *sums, float *squares, const float *const x[TOGETHER], int64_t n, int64_t rows,
                          float pivot) {
    if (rows == TOGETHER && pivot == 0)
        add_rows(sums, squares, x, n, TOGETHER, 0, 0);
    else if (rows == TOGETHER)
        add_rows(sums, squares, x, n, TOGETHER, 1, pivot);
    else
        for (int64_t row = 0; row < rows; row++) {
            const float *const one[TOGETHER] = {x[row], x[row], x[row], x[row]};
            add_rows(sums, squares, one, n, 1, 1, pivot);
        }
}

/* Adds the columns' squares to those of their channels; answers the sum of all. */
static double add_squares(const Reading *of, const Part *part, const float *squares) {
    double whole = 0;
    int64_t channel = part->first / of->inner % of->channels, left = of->inner - part->first % of->inner;
    for (int64_t at = 0, length; at < part->width; at += length) {
        if (of->inner == 1) {
            length = part->width - at < of->channels - channel ? part->width - at : of->channels - channel;
            for (int64_t i = 0; i < length; i++) {
                of->squares[channel + i] += (double)squares[at + i];
                whole += (double)squares[at + i];
            }
            channel = 0;
            continue;
        }
        double run = 0;
        length = part->width - at < left ? part->width - at : left;
        for (int64_t i = 0; i < length; i++)
            run += (double)squares[at + i];
        of->squares[channel] += run;
        whole += run;
        left = of->inner;
        channel = channel + 1 < of->channels ? channel + 1 : 0;
    }
    return whole;
}

/* A part that float32 does not hold the powers of, or that is not finite. */
static void add_carefully(const Reading *of, const Part *part) {
    float wide[TILE];
    for (int64_t row = 0; row < part->steps * part->together; row++)
        for (int64_t column = 0; column < part->width; column += TILE) {
            const int64_t n = part->width - column < TILE ? part->width - column : TILE, first = part->first + column;
            const int64_t at = part->at + row / part->together * part->stride + row % part->together * part->apart;
            const float *x = opened(wide, part->data, at + column, n, of->kind);
            float pivot = gyrostat_pivot(x, n);
            gyrostat_add_block(of->row, x, n, &pivot);
            for (int64_t i = 0; i < n; i++)
                of->squares[(first + i) / of->inner % of->channels] += (double)x[i] * (double)x[i];
        }
}

/* How many elements do not lie between the bounds. */
static int64_t outside(const float *x, int64_t n, float low, float high) {
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += (x[i] <= low) | (x[i] >= high);
    return count;
}

/* Adds a part of at most STEPS and COLUMNS_HELD; `pivot` is what to subtract, and becomes what the next one is to. */
static void add_part(const Reading *of, const Part *part, float *pivot) {
    float squares[COLUMNS_HELD], wide[TOGETHER][TILE];
    const double n = (double)(part->steps * part->together * part->width), c = *pivot;
    Sums sums = {0};
    memset(squares, 0, (size_t)part->width * sizeof *squares);
    for (int64_t step = 0; step < part->steps; step++)
        for (int64_t column = 0; column < part->width; column += TILE) {
            const int64_t length = part->width - column < TILE ? part->width - column : TILE;
            const float *x[TOGETHER];
            for (int64_t i = 0; i < part->together; i++) {
                const int64_t at = part->at + step * part->stride + i * part->apart + column;
                x[i] = opened(wide[i], part->data, at, length, of->kind);
            }
            add_some_rows(&sums, squares + column, x, length, part->together, *pivot);
            for (int64_t i = 0; i < part->together && of->low < of->high; i++)
                of->row[SATURATED] += (double)outside(x[i], length, of->low, of->high);
        }
    if (sums.top != 0 && !gyrostat_held(sums.top, *pivot)) {
        add_carefully(of, part);
        *pivot = 0;
        return;
    }
    const double whole = add_squares(of, part, squares);
    sums.d2 = c == 0 ? whole : sums.d2;
    gyrostat_add_sums(of->row, n, c, &sums);
    *pivot = gyrostat_next_pivot(&sums, n, c);
}

static int is_nonzero(const void *data, int64_t at, int32_t kind) {
    return kind == FLOAT32 ? magnitude_bits(((const float *)data)[at]) != 0 : (((const uint16_t *)data)[at] & 0x7fff) != 0;
}

static uint8_t any_nonzero(const void *data, const Reading *of, int64_t channel) {
    for (int64_t row = 0; row < of->outer; row++)
        for (int64_t i = 0; i < of->inner; i++)
            if (is_nonzero(data, (row * of->channels + channel) * of->inner + i, of->kind))
                return 1;
    return 0;
}

/* Whether float32 holds the squares of all elements that are not 0. */
static int squares_held(const void *data, int64_t n, int32_t kind) {
    float wide[BLOCK];
    uint32_t least = UINT32_MAX;
    for (int64_t at = 0; at < n && least >= SQUARED; at += BLOCK) {
        const int64_t length = n - at < BLOCK ? n - at : BLOCK;
        const float *x = opened(wide, data, at, length, kind);
        for (int64_t i = 0; i < length; i++) {
            const uint32_t bits = (uint32_t)magnitude_bits(x[i]) - 1; /* 0 is the largest */
            least = bits < least ? bits : least;
        }
    }
    return least >= SQUARED;
}

/* Notes which channels are not all 0: a look at those without squares, which may be too small for float32. */
static void note_alive(const void *data, const Reading *of) {
    int64_t silent = 0;
    for (int64_t i = 0; i < of->channels; i++) {
        of->alive[i] |= of->squares[i] != 0;
        silent += !of->alive[i];
    }
    if (silent == 0 || of->kind == FLOAT16)
        return;
    if (silent > of->channels / 16 && squares_held(data, of->outer * of->channels * of->inner, of->kind))
        return;
    for (int64_t i = 0; i < of->channels; i++)
        of->alive[i] |= !of->alive[i] && any_nonzero(data, of, i);
}

/* Adds one output to what was read. Narrow rows are joined to wider ones, and of very wide ones columns are taken apart. */
void gyrostat_read_output(const void *data, const Reading *of) {
    const int64_t columns = of->channels * of->inner, fit = columns < TILE ? TILE / columns : 1;
    const int64_t repeat = fit < of->outer ? fit : of->outer, stride = columns * repeat, rows = of->outer / repeat;
    const int64_t steps = rows / TOGETHER, apart = steps * stride, rest = of->outer % repeat * columns;
    const int64_t first = stride < TILE ? stride : TILE;
    float wide[TILE];
    const float *const x = opened(wide, data, 0, first, of->kind);
    float pivot = gyrostat_pivot(x, first);
    for (int64_t column = 0; column < stride; column += COLUMNS_HELD) {
        const int64_t width = stride - column < COLUMNS_HELD ? stride - column : COLUMNS_HELD;
        for (int64_t step = 0; step < steps; step += STEPS) {
            const int64_t some = steps - step < STEPS ? steps - step : STEPS, at = step * stride + column;
            add_part(of, &(Part){data, at, some, TOGETHER, apart, stride, width, column}, &pivot);
        }
        for (int64_t row = TOGETHER * steps; row < rows; row++)
            add_part(of, &(Part){data, row * stride + column, 1, 1, 0, 0, width, column}, &pivot);
    }
    if (rest > 0)
        add_part(of, &(Part){data, rows * stride, 1, 1, 0, 0, rest, 0}, &pivot);
    note_alive(data, of);
    of->row[ELEMENTS] += (double)(of->outer * columns);
    of->row[CALLS] += 1;
}

/* The same of one array by itself. */
void gyrostat_channels(const void *data, int32_t kind, int64_t outer, int64_t channels, int64_t inner, float low,
                       float high, double *row, double *squares, uint8_t *alive) {
    const Reading of = {outer, channels, inner, low, high, kind, 0, row, squares, alive, 0};
    memset(row, 0, WIDTH * sizeof *row);
    memset(squares, 0, (size_t)channels * sizeof *squares);
    memset(alive, 0, (size_t)channels);
    gyrostat_read_output(data, &of);
}

/* The element that sorting would put at `place`; `values` are reordered (Hoare's selection). */
static double selected(double *values, int64_t n, int64_t place) {
    for (int64_t low = 0, high = n - 1; low < high;) {
        const double pivot = values[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (values[i] < pivot)
                i++;
            while (values[j] > pivot)
                j--;
            if (i <= j) {
                const double kept = values[i];
                values[i++] = values[j];
                values[j--] = kept;
            }
        }
        if (place <= j)
            high = j;
        else if (place >= i)
            low = i;
        else
            break;
    }
    return values[place];
}

static int any_nan(const double *values, int64_t n) {
    int64_t nan = 0;
    for (int64_t i = 0; i < n; i++)
        nan += values[i] != values[i];
    return nan > 0;
}

/* The lower median of each of `count` segments of `values`, which is reordered; NaN where a value is. */
void gyrostat_medians(int64_t count, const int64_t *lengths, double *values, double *medians) {
    for (int64_t segment = 0; segment < count; values += lengths[segment], segment++) {
        const int64_t n = lengths[segment];
        medians[segment] = n == 0 || any_nan(values, n) ? __builtin_nan("") : selected(values, n, (n - 1) / 2);
    }
}

static int32_t high_word(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (int32_t)(bits >> 32);
}

/* The lower median of numbers that are not negative, which are reordered; NaN where one is. Bisected by their high words,
   which compilers compare many at a time, and then selected among the few that share one. */
static double median_size(double *values, int64_t n) {
    int32_t words[CHANNELS], low = INT32_MAX, high = 0;
    int64_t place = (n - 1) / 2, below = 0, equal = 0;
    if (n == 0 || any_nan(values, n))
        return __builtin_nan("");
    if (n > CHANNELS)
        return selected(values, n, place);
    for (int64_t i = 0; i < n; i++) {
        words[i] = high_word(values[i]);
        low = words[i] < low ? words[i] : low;
        high = words[i] > high ? words[i] : high;
    }
    while (low < high) { /* the least word that more than `place` are not above */
        const int32_t middle = low + (high - low) / 2;
        int32_t count = 0;
        for (int64_t i = 0; i < n; i++)
            count += words[i] <= middle;
        if (count > place)
            high = middle;
        else
            low = middle + 1;
    }
    for (int64_t i = 0; i < n; i++) {
        below += words[i] < low;
        if (words[i] == low)
            values[equal++] = values[i];
    }
    return selected(values, equal, place - below);
}

static void forget(const Reading *of) {
    if (of->row[ELEMENTS] == 0)
        return;
    memset(of->row, 0, WIDTH * sizeof *of->row);
    if (of->squares != 0) {
        memset(of->squares, 0, (size_t)of->channels * sizeof *of->squares);
        memset(of->alive, 0, (size_t)of->channels);
    }
}

/* Drops what was read in a step that never ended. */
void gyrostat_forget_outputs(int64_t count, const Reading *readings) {
    for (int64_t i = 0; i < count; i++)
        forget(readings + i);
}

/* Fraction of channels that were 0 in the last `window` steps, or in all of fewer; counts this step. */
static double dead_fraction(Reading *of, int32_t window) {
    int64_t dead = 0;
    of->measured++;
    const int32_t needed = of->measured < window ? of->measured : window;
    for (int64_t i = 0; i < of->channels; i++) {
        of->silent[i] = of->alive[i] ? 0 : of->silent[i] + 1;
        dead += of->silent[i] >= needed;
    }
    return (double)dead / (double)of->channels;
}

/* What was read of `count` modules in a step, as `table`: a row for each of the `metrics` of the probe; `missing` are the
   bits of what there is not. All is dropped afterwards. Answers how many modules put something out. */
int64_t gyrostat_summarize_outputs(int64_t count, Reading *readings, int32_t window, int32_t metrics, uint32_t missing,
                                   float *table) {
    int64_t told = 0;
    for (int64_t i = 0; i < count * metrics; i++)
        memcpy(table + i, &missing, sizeof missing); /* no arithmetic may touch this NaN */
    for (int64_t i = 0; i < count; i++) {
        Reading *const of = readings + i;
        const double *const row = of->row, n = row[ELEMENTS];
        float *const at = table + i;
        if (n == 0)
            continue;
        told++;
        const double m1 = row[0] / n, m2 = row[1] / n, m3 = row[2] / n, m4 = row[3] / n, square = m1 * m1;
        const double variance = m2 - square, fourth = m4 - 4 * m1 * m3 + 6 * square * m2 - 3 * square * square;
        at[0] = (float)m1;
        at[count] = (float)sqrt(m2);
        at[2 * count] = (float)row[4];
        at[3 * count] = (float)(row[5] / n);
        at[4 * count] = (float)row[6];
        if (!(variance <= ROUNDING * m2))
            at[5 * count] = (float)(fourth / (variance * variance));
        if (of->low < of->high)
            at[6 * count] = (float)(row[SATURATED] / n);
        if (row[CALLS] > 0) {
            double largest = 0;
            for (int64_t j = 0; j < of->channels; j++)
                largest = of->squares[j] > largest ? of->squares[j] : largest;
            at[7 * count] = (float)dead_fraction(of, window);
            const double typical = median_size(of->squares, of->channels);
            if (typical != 0)
                at[8 * count] = (float)sqrt(largest / typical);
        }
        forget(of);
    }
    return told;
}
