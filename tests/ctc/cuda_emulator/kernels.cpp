// All kernels for the host, behind one C function.
#include "emulator.h"
//
#include "../../../seqkd/ctc/cuda/gradient.cu"
#include "../../../seqkd/ctc/cuda/lattice.cu"
#include "../../../seqkd/ctc/cuda/rows.cu"
#include "../../../seqkd/ctc/cuda/slow.cu"
#include "../../../seqkd/ctc/cuda/utterance.cu"

struct Entry {
    const char* name;
    void (*run)(const int64_t*);
    int arguments;
};

#define ENTRY(kernel) {#kernel, emulator::Call<kernel>::run, emulator::Call<kernel>::count}

static const Entry entries[] = {
    ENTRY(row_pass),          ENTRY(sum_frames),       ENTRY(lattice_pass_1), ENTRY(lattice_pass_2),
    ENTRY(lattice_pass_4),    ENTRY(occupancy_pass),   ENTRY(gradient_pass),  ENTRY(slow_lattice_pass),
    ENTRY(utterance_pass_1),  ENTRY(utterance_pass_2),
};

// 0, or 1 for a kernel that is not known, 2 for a wrong number of arguments.
extern "C" int emulate(
    const char* name, unsigned grid, unsigned threads, unsigned shared_bytes, int backwards, const int64_t* arguments,
    int count
) {
    for (const Entry& entry : entries) {
        if (strcmp(entry.name, name) != 0) continue;
        if (count != entry.arguments) return 2;
        emulator::launch(entry.run, grid, threads, shared_bytes, backwards != 0, arguments);
        return 0;
    }
    return 1;
}
