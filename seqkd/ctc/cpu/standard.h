// The standard headers, included before any target pragma: none of their functions may be compiled for one
// instruction set and then, being the linker's first pick, be called on a processor without it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <vector>
