#include "gpu/kernels/nn/matmul_cublaslt.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <map>
#include <mutex>
#include <tuple>
#include <type_traits>

#include "common/base/check.h"
#include "gpu/device/cuda_stream.h"

namespace decant {
namespace {

// The few functions that are used, from the toolkit's shared library.
struct Library {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulDescCreate) operation = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set_operation = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) forget_preference = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  bool complete = false;
};

Library Open() {
  Library library;
  void* const handle = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return library;
  library.complete = true;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    library.complete = library.complete && function != nullptr;
  };
  find(library.create, "cublasLtCreate");
  find(library.matmul, "cublasLtMatmul");
  find(library.operation, "cublasLtMatmulDescCreate");
  find(library.set_operation, "cublasLtMatmulDescSetAttribute");
  find(library.layout, "cublasLtMatrixLayoutCreate");
  find(library.preference, "cublasLtMatmulPreferenceCreate");
  find(library.set_preference, "cublasLtMatmulPreferenceSetAttribute");
  find(library.forget_preference, "cublasLtMatmulPreferenceDestroy");
  find(library.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  return library;
}

// What is worked out once for a shape: descriptions and the kernel that the library would take.
struct Plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t weights = nullptr;
  cublasLtMatrixLayout_t in = nullptr;
  cublasLtMatrixLayout_t out = nullptr;
  cublasLtMatmulAlgo_t algorithm = {};
  bool usable = false;
};

// Type, rows, outputs, inputs, whether there is a workspace.
using Shape = std::tuple<RunType, int32_t, int32_t, int32_t, bool>;

// The state of one device. Handles and plans live as long as the process.
class Products {
 public:
  explicit Products(const Library& library) : library_(library) {
    usable_ = library.complete && library.create(&handle_) == CUBLAS_STATUS_SUCCESS;
  }

  bool Run(Stream& stream, const MatmulArgs& args) {
    if (!usable_) return false;
    const PackedMatrix& matrix = *args.matrix;
    const Plan* plan = nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const Shape shape{matrix.type, args.rows, matrix.outputs, matrix.inputs, args.workspace != nullptr};
      const auto found = plans_.find(shape);
      plan = found != plans_.end() ? &found->second : &plans_.emplace(shape, Make(shape)).first->second;
    }
    if (!plan->usable) return false;
    const float one = 1;
    const float before = args.accumulate ? 1 : 0;
    const size_t room = args.workspace != nullptr ? static_cast<size_t>(kCublasLtWorkspaceBytes) : 0;
    const cublasStatus_t status = library_.matmul(
        handle_, plan->operation, &one, matrix.memory.As<void>(), plan->weights, args.in, plan->in, &before, args.out,
        plan->out, args.out, plan->out, &plan->algorithm, args.workspace, room, CudaStreamOf(stream));
    DECANT_CHECK_MSG(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt status %d for %d rows, %d outputs, %d inputs",
                     static_cast<int>(status), args.rows, matrix.outputs, matrix.inputs);
    return true;
  }

 private:
  // The library counts columns first: out^T = weights x in^T, with the weights as they are stored read as transposed.
  Plan Make(const Shape& shape) const {
    const auto [type, rows, outputs, inputs, workspace] = shape;
    const cudaDataType_t data = type == RunType::kBf16 ? CUDA_R_16BF : CUDA_R_32F;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const auto wide = [](int32_t n) { return static_cast<uint64_t>(n); };
    const uint64_t room = workspace ? static_cast<uint64_t>(kCublasLtWorkspaceBytes) : 0;
    Plan plan;
    cublasLtMatmulPreference_t preference = nullptr;
    const bool described =
        Ok(library_.operation(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F)) &&
        Ok(library_.set_operation(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed))) &&
        Ok(library_.layout(&plan.weights, data, wide(inputs), wide(outputs), inputs)) &&
        Ok(library_.layout(&plan.in, data, wide(inputs), wide(rows), inputs)) &&
        Ok(library_.layout(&plan.out, CUDA_R_32F, wide(outputs), wide(rows), outputs)) &&
        Ok(library_.preference(&preference)) &&
        Ok(library_.set_preference(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof(room)));
    cublasLtMatmulHeuristicResult_t best = {};
    int count = 0;
    plan.usable = described &&
                  Ok(library_.heuristic(handle_, plan.operation, plan.weights, plan.in, plan.out, plan.out, preference,
                                        1, &best, &count)) &&
                  count == 1 && Ok(best.state);
    plan.algorithm = best.algo;
    if (preference != nullptr) library_.forget_preference(preference);
    return plan;
  }
  static bool Ok(cublasStatus_t status) { return status == CUBLAS_STATUS_SUCCESS; }

  const Library& library_;
  cublasLtHandle_t handle_ = nullptr;
  bool usable_ = false;
  std::mutex mutex_;  // guards what follows; plans never move
  std::map<Shape, Plan> plans_;
};

Products& ProductsOf(int device) {
  static const Library library = Open();
  static std::mutex mutex;
  static std::map<int, Products> devices;
  const std::lock_guard<std::mutex> lock(mutex);
  return devices.try_emplace(device, library).first->second;
}

}  // namespace

bool MatmulCublasLt(Stream& stream, const MatmulArgs& args) {
  int device = 0;
  RequireCuda(cudaGetDevice(&device), "cudaGetDevice");
  return ProductsOf(device).Run(stream, args);
}

}  // namespace decant
