// Lines of discrete directions through a volume: what the transports share. Numbers of each direction: lines.py.
#pragma once
#include "common.cuh"

// whole numbers of a direction
#define PLANES 0
#define SHEETS 1
#define ROWS_PER_PLANE 2
#define ROWS_PER_SHEET 3
#define BACKWARDS 4
#define FIRST_STEP 5
#define FIRST_LINE_SHEET 6
#define LINE_SHEETS 7
#define FIRST_LINE 8
#define LINES 9
#define WHOLE 10

// The part of [begin, end] in which |x + px i| <= limit (w + pw i); its nearest end where there is none.
__device__ __forceinline__ void within_tilt(
    double x, double px, double w, double pw, double limit, double& begin, double& end)
{
    for (int side = -1; side <= 1; side += 2) {
        const double value = side * x - limit * w, slope = side * px - limit * pw;
        if (slope > 0.0)
            end = max(begin, min(end, -value / slope));
        else if (slope < 0.0)
            begin = min(end, max(begin, -value / slope));
    }
}
