// Registers and shared memory of compiled kernels, as ptxas reported them, and how many of their warps a processor
// holds.
#ifndef DECANT_LOAD_TESTS_KERNELS_KERNEL_RESOURCES_H_
#define DECANT_LOAD_TESTS_KERNELS_KERNEL_RESOURCES_H_

#include <cstdint>
#include <map>
#include <string>

namespace decant {

struct KernelResources {
  int32_t registers = 0;     // of a thread; the most among a template's kernels
  int64_t shared_bytes = 0;  // static, of a block
};

// By the kernel's name without namespace and template arguments, from the reports under a build folder (see
// common/cmake/keep_ptxas.sh); empty for a build without nvcc.
std::map<std::string, KernelResources> ReadKernelResources(const std::string& build_folder);

// The same name from the text of a launch: "(PlanKernel<32>)" is "PlanKernel".
std::string KernelNameOf(const std::string& launch);

// The share of a processor's 64 warps that its registers, shared memory and block places let be there at once: sm_90,
// 65536 registers in units of 256 a warp, 227 KiB shared, 32 blocks.
double Occupancy(const KernelResources& kernel, int32_t block_threads, int64_t dynamic_shared_bytes);

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_KERNELS_KERNEL_RESOURCES_H_
