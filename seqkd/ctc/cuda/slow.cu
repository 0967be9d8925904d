// Double precision for what the lattice pass has flagged: always launched, and leaves at once where there is nothing
// to do. One block a pass and utterance.
#include "slow.h"

KERNEL LAUNCH_BOUNDS(512) slow_lattice_pass(
    const Scaled* emissions, const int64* lengths, const int64* targets, int64 passes, int64 batch, int64 frames,
    int64 labels, int64 classes, int64 blank, int64 slots, int64 gradient, double* workspace, const int* next,
    int* status, float* losses, float* occupancy
) {
    SHARED(memory);
    float* by_position = (float*)memory;  // (S,), then one float a warp
    const Sizes sizes{batch, frames, labels, classes, blank, slots};
    const Status note(status, passes * batch, blockIdx.x);
    if (!*note.is_slow || *note.is_nan) return;
    const Utterance u(sizes, blockIdx.x, lengths, targets, emissions);
    const Group group{(int)threadIdx.x, (int)blockDim.x, by_position + labels};
    double* alphas = workspace + u.item * slow_rows(sizes, gradient != 0) * 2 * sizes.pair_stride();
    slow_lattice(
        u, sizes, gradient != 0, alphas, next + u.item % batch * labels, by_position, group, losses + u.item,
        occupancy + u.item * frames * slots
    );
}
