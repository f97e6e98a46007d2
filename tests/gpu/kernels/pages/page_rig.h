// One device with pages, a ring and rows, for the tests of the operations on them. The rig looks at device memory
// through copies of it.
#ifndef DECANT_TESTS_GPU_KERNELS_PAGES_PAGE_RIG_H_
#define DECANT_TESTS_GPU_KERNELS_PAGES_PAGE_RIG_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gpu/device/device.h"
#include "gpu/kernels/codec/append_token.h"
#include "gpu/kernels/pages/page_ops.h"
#include "tests/support/kernel_devices.h"

namespace decant {

struct RigOptions {
  Geometry geometry{1, 1, 1, 8};
  int32_t sequences = 1;
  int32_t page_count = 64;
  int64_t page_bytes = 512;
  int32_t capacity = 32;
  FormatId high = FormatId::kK8V4;
  FormatId low = FormatId::kK4V2;
  FormatId fixed = FormatId::kNone;
  FormatId tail = FormatId::kNone;
  OnlinePolicy policy = OnlinePolicy::kNone;
  float alpha_high = 0;
  float alpha_low = 0;
  int32_t window = 8;
  int32_t first_query = 0;
  int32_t sinks = 0;
  int32_t limit = 0;
  float keep_share = 0;  // of every layer; 0: none
  KeyForm key_form;      // of high and low; balanced by `balance`
  std::vector<float> balance;
  int threads = 2;
  // Instead of a test device.
  std::function<std::unique_ptr<Device>(int64_t bytes)> device;
  // Append tokens with the device's own operation. Otherwise a device that is no host has it done on a copy of its
  // memory, so that tests of pages want no other kernels.
  bool appends_on_device = false;
};

// A token as a page holds it, decoded by the scalar arithmetic.
struct StoredToken {
  int32_t position = -1;
  float score = 0;
  std::vector<float> k;
  std::vector<float> v;
};

class PageRig {
 public:
  explicit PageRig(const RigOptions& options);

  const PageArena& arena() const { return arena_; }
  const PageRing& ring() const { return ring_; }
  const SequenceRows* rows(int32_t sequence = 0) const { return rows_ + sequence; }
  // What is done with it is not seen by the rig, which reads everything again.
  Stream& stream() {
    fresh_ = false;
    return *stream_;
  }

  void Grow(int32_t sequence, int32_t layer, const std::vector<int32_t>& growth);
  void Import(int32_t sequence, int32_t layer, const std::string& batch, const std::vector<ImportRun>& runs);
  // Grows for the runs, then imports them.
  void GrowAndImport(int32_t sequence, int32_t layer, const std::string& batch, const std::vector<ImportRun>& runs);
  void Plan();
  // Every layer of every sequence gets the vectors of `token(sequence, layer, head, is_value)` and, as its key before
  // rope, that of `pre_rope_key(sequence, layer, head)`.
  void Append(const std::function<std::vector<float>(int32_t, int32_t, int32_t, bool)>& token,
              const std::function<std::vector<float>(int32_t, int32_t, int32_t)>& pre_rope_key = nullptr);
  void Append(float value);
  void Advance();
  void Release(int32_t sequence);

  HeadState Head(int32_t sequence, int32_t layer, int32_t head);
  std::vector<int32_t> PageIds(int32_t sequence, int32_t layer, int32_t head, int32_t tier);
  StepAction Action(int32_t sequence, int32_t layer, int32_t head);
  std::vector<StoredToken> Tokens(int32_t sequence, int32_t layer, int32_t head, int32_t tier);
  // Adds `attention(position)` to every stored score, as decode attention does.
  void AddScores(int32_t sequence, int32_t layer, int32_t head, const std::function<float(int32_t)>& attention);
  int64_t FreePages();
  std::vector<int32_t> FreeIds();
  int64_t demoted();
  int64_t dropped();
  // Whether any operation ran out of pages since the last call.
  bool TookError();
  std::vector<int64_t> Counts(int32_t sequence);
  void SetLength(int32_t sequence, int32_t length);

 private:
  // A copy of one buffer.
  struct alignas(64) Line {
    uint8_t bytes[64];
  };
  struct Copy {
    const char* device = nullptr;
    int64_t bytes = 0;
    std::vector<Line> lines;
  };

  int64_t SumMoved(int32_t column);
  template <typename T>
  T* New(int64_t count);
  // Brings the copies up to date, or the device.
  void Read();
  void Write();
  // Where the copy of `address` is, once read.
  template <typename T>
  T* Here(T* address);
  // Rows and pages whose addresses lie in the copies.
  SequenceRows RowsHere(int32_t sequence);
  PageArena ArenaHere();
  void AppendHere(AppendTokenArgs args);

  RigOptions options_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  std::vector<Buffer> buffers_;
  std::vector<Copy> copies_;  // of buffers_
  bool fresh_ = false;        // whether the copies are what the device holds
  PageArena arena_;
  PageRing ring_;
  SequenceRows* rows_ = nullptr;
  int32_t* scratch_ = nullptr;
  int32_t* error_ = nullptr;
  int64_t* moved_ = nullptr;
  StepAction* actions_ = nullptr;
};

}  // namespace decant

#endif  // DECANT_TESTS_GPU_KERNELS_PAGES_PAGE_RIG_H_
