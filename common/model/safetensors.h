// The tensors of a Hugging Face folder: model.safetensors, or the shards that model.safetensors.index.json names,
// mapped and checked.
#ifndef DECANT_COMMON_MODEL_SAFETENSORS_H_
#define DECANT_COMMON_MODEL_SAFETENSORS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/digest.h"

namespace decant {

enum class StoredType : uint8_t { kF32, kF16, kBf16 };

// A tensor's bytes inside a mapped file; valid while the Safetensors lives.
struct TensorView {
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;
  const void* bytes = nullptr;  // row-major; may be unaligned
  int64_t elements = 0;
  std::string path;  // of the file, for messages
};

// Immutable after Open; thread-safe.
class Safetensors {
 public:
  // Maps the files and checks every header: offsets in order, inside the file, agreeing with shape and type, no
  // overlap. NOT_FOUND without a file, DATA_LOSS for a truncated or inconsistent one, UNIMPLEMENTED for another element
  // type of a tensor that is read.
  static absl::StatusOr<std::unique_ptr<Safetensors>> Open(const std::string& folder);
  virtual ~Safetensors() = default;

  // NOT_FOUND names the folder and the tensor; INVALID_ARGUMENT names both shapes when `shape` does not match.
  virtual absl::StatusOr<TensorView> Find(absl::string_view name, absl::Span<const int64_t> shape) const = 0;
  virtual bool Contains(absl::string_view name) const = 0;
  virtual std::vector<std::string> Names() const = 0;
  virtual int64_t total_bytes() const = 0;
  // Gives the mapped files' memory back to the system, for when their tensors have been copied: views stay valid and
  // read the files again.
  virtual void ReleaseMemory() const = 0;
  // SHA-256 over the names, types, shapes and bytes of all tensors' headers and a sample of every tensor's bytes (first
  // and last 4 KiB): cheap at start and different for different weights in practice.
  virtual Digest fingerprint() const = 0;
};

// Copies `tensor` as f32 to `out` [elements].
void CopyAsFloat(const TensorView& tensor, float* out);

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_SAFETENSORS_H_
