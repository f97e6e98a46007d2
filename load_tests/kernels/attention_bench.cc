// Decode attention of the host over compressed pages beside the same over bf16 pages, and bf16 beside memcpy. Every
// data set is far larger than the caches and its pages lie in random order.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/half.h"
#include "common/kv/rows.h"
#include "gpu/device/device.h"
#include "gpu/kernels/attention/decode_attention.h"
#include "load_tests/support/report.h"

namespace decant {
namespace {

constexpr int64_t kSmallestSetBytes = int64_t{96} << 20;  // of the smallest format: three times the last cache

struct Shape {
  int32_t head_dim = 64;
  int32_t group = 1;
  int32_t tokens = 4096;  // of every head
};

// `heads` heads of one sequence in one format, in pages of their own.
class Pages {
 public:
  Pages(Device& device, const Shape& shape, FormatId format, int32_t heads) : shape_(shape), heads_(heads) {
    const FormatId formats[] = {format};
    arena_.geometry = Geometry{1, heads * shape.group, heads, shape.head_dim};
    arena_.page_bytes = ChoosePageBytes(shape.head_dim, formats, 1, shape.tokens);
    PageLayout& layout = arena_.layouts[static_cast<int>(format)];
    layout = FitLayout(format, shape.head_dim, arena_.page_bytes);
    const int32_t pages_per_head = (shape.tokens + layout.tokens - 1) / layout.tokens;
    arena_.page_count = heads * pages_per_head;
    memory_ = device.Allocate(arena_.page_bytes * arena_.page_count).value();
    arena_.pages = memory_.As<uint8_t>();
    const std::vector<uint8_t> page = OnePage(format, layout);
    for (int64_t i = 0; i < arena_.page_count; ++i) {
      std::memcpy(arena_.pages + i * arena_.page_bytes, page.data(), page.size());
    }
    ids_.resize(static_cast<size_t>(arena_.page_count));
    std::iota(ids_.begin(), ids_.end(), 0);
    std::shuffle(ids_.begin(), ids_.end(), std::mt19937(1));
    states_.resize(static_cast<size_t>(heads));
    for (HeadState& head : states_) {
      head.tokens[kHigh] = shape.tokens;
      head.pages[kHigh] = pages_per_head;
    }
    rows_.heads = states_.data();
    rows_.page_ids = ids_.data();
    rows_.capacity = pages_per_head;
    rows_.formats[kHigh] = format;
    // Compressed pages pay for the scores that their policy needs.
    rows_.policy = FormatOf(format).tracked ? OnlinePolicy::kDiffKvPaper : OnlinePolicy::kNone;
    angles_.assign(static_cast<size_t>(shape.tokens) * static_cast<size_t>(shape.head_dim), 0.5f);
    q_.assign(static_cast<size_t>(heads * shape.group * shape.head_dim), 0.1f);
    out_.resize(q_.size());
    scratch_ = device.Allocate(DecodeAttentionScratchBytes(device, arena_.geometry, 1, shape.tokens)).value();
    bytes_read_ = int64_t{heads} * shape.tokens * TokenBytes(format, shape.head_dim);
  }

  // From now on the same bytes are read as keys in this form.
  void SetForm(const KeyForm& form) { rows_.key_forms[kHigh] = form; }

  // Bytes that one Seconds() must read.
  int64_t bytes_read() const { return bytes_read_; }

  double Seconds(Stream& stream) {
    DecodeAttentionArgs args;
    args.arena = arena_;
    args.rows = &rows_;
    args.sequences = 1;
    args.q = q_.data();
    args.q_stride = static_cast<int64_t>(q_.size());
    args.angles = angles_.data();
    args.scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
    args.out = out_.data();
    args.out_stride = static_cast<int64_t>(out_.size());
    args.scratch = scratch_.As<float>();
    args.scratch_tokens = shape_.tokens;
    const double start = WallSeconds();
    DecodeAttention(stream, args);
    return WallSeconds() - start;
  }

 private:
  std::vector<uint8_t> OnePage(FormatId format, const PageLayout& layout) const {
    std::vector<uint8_t> page(static_cast<size_t>(arena_.page_bytes));
    std::mt19937 random(2);
    if (IsFull(FormatOf(format).k)) {
      for (size_t i = 0; i + 1 < page.size(); i += 2) {
        const Bf16 x = ToBf16(static_cast<float>(random() % 1000) * 1e-3f - 0.5f);
        std::memcpy(page.data() + i, &x, 2);
      }
      return page;
    }
    for (uint8_t& byte : page) byte = static_cast<uint8_t>(random());
    const Fp16 meta[2] = {ToFp16(0.05f), ToFp16(-0.4f)};
    for (int32_t t = 0; t < layout.tokens; ++t) {
      std::memcpy(page.data() + layout.key_meta + 4 * t, meta, 4);
      std::memcpy(page.data() + layout.value_meta + 4 * t, meta, 4);
      if (FormatOf(format).tracked) std::memset(page.data() + layout.scores + 4 * t, 0, 4);
    }
    return page;
  }

  Shape shape_;
  int32_t heads_;
  PageArena arena_;
  Buffer memory_;
  Buffer scratch_;
  std::vector<int32_t> ids_;
  std::vector<HeadState> states_;
  SequenceRows rows_;
  std::vector<float> angles_;  // any numbers do
  std::vector<float> q_;
  std::vector<float> out_;
  int64_t bytes_read_ = 0;
};

// memcpy on all threads of the device.
class Copies {
 public:
  Copies(Device& device, int64_t bytes)
      : device_(device), bytes_(bytes), from_(device.Allocate(bytes).value()), to_(device.Allocate(bytes).value()) {
    std::memset(from_.As<void>(), 1, static_cast<size_t>(bytes));
    std::memset(to_.As<void>(), 2, static_cast<size_t>(bytes));
  }
  double Seconds() {
    const double start = WallSeconds();
    const int64_t share = bytes_ / device_.threads();
    device_.ParallelFor(device_.threads(), [&](int64_t i, int) {
      std::memcpy(to_.As<void>(i * share), from_.As<void>(i * share), static_cast<size_t>(share));
    });
    return WallSeconds() - start;
  }
  int64_t bytes() const { return bytes_; }

 private:
  Device& device_;
  int64_t bytes_;
  Buffer from_;
  Buffer to_;
};

void Measure(Device& device, const Shape& shape, int rounds, Report& report) {
  const int64_t smallest = TokenBytes(FormatId::kK4V2, shape.head_dim) * shape.tokens;
  const auto heads = static_cast<int32_t>((kSmallestSetBytes + smallest - 1) / smallest);
  const std::unique_ptr<Stream> stream = device.NewStream();
  Copies copies(device, int64_t{256} << 20);
  Pages bf16(device, shape, FormatId::kFullBf16, heads);
  Pages k8v4(device, shape, FormatId::kK8V4, heads);
  Pages k4v2(device, shape, FormatId::kK4V2, heads);
  const auto seconds =
      InterleavedRounds(rounds + 1, {[&] { return copies.Seconds(); }, [&] { return bf16.Seconds(*stream); },
                                     [&] { return k8v4.Seconds(*stream); }, [&] { return k4v2.Seconds(*stream); }});
  // The first round warms up.
  std::vector<std::vector<double>> kept;
  for (const std::vector<double>& all : seconds) kept.emplace_back(all.begin() + 1, all.end());

  const std::string suffix = absl::StrCat("_d", shape.head_dim, "_q", shape.group, "_", shape.tokens / 1024, "k");
  const double copy_rate = static_cast<double>(copies.bytes()) / Median(kept[0]) * 1e-9;
  const double bf16_rate = static_cast<double>(bf16.bytes_read()) / Median(kept[1]) * 1e-9;
  const double size_ratio = static_cast<double>(bf16.bytes_read()) / static_cast<double>(copies.bytes());
  report.Add(absl::StrCat("attention.bf16", suffix), bf16_rate, "GB/s_of_memcpy", copy_rate,
             MedianRatio(kept[0], kept[1]) * size_ratio);
  const auto add = [&](absl::string_view name, const std::vector<double>& times) {
    report.Add(absl::StrCat("attention.", name, suffix), Median(times) * 1e3, "ms_of_bf16", Median(kept[1]) * 1e3,
               MedianRatio(times, kept[1]));
  };
  add("k8v4", kept[2]);
  add("k4v2", kept[3]);
}

// SAW-INT4: the same INT4 pages as rotated keys, which costs one rotation of the query per head.
void MeasureForms(Device& device, const Shape& shape, int rounds, Report& report) {
  const int64_t bytes = TokenBytes(FormatId::kK4V4, shape.head_dim) * shape.tokens;
  const auto heads = static_cast<int32_t>((kSmallestSetBytes + bytes - 1) / bytes);
  const std::unique_ptr<Stream> stream = device.NewStream();
  Pages pages(device, shape, FormatId::kK4V4, heads);
  KeyForm whole;
  while ((1 << whole.hadamard) < shape.head_dim) ++whole.hadamard;
  const auto in_form = [&](const KeyForm& form) {
    pages.SetForm(form);
    return pages.Seconds(*stream);
  };
  const auto seconds =
      InterleavedRounds(rounds + 1, {[&] { return in_form(KeyForm()); }, [&] { return in_form(whole); },
                                     [&] {
                                       return in_form(KeyForm{0, 0, 0});
                                     }});
  std::vector<std::vector<double>> kept;
  for (const std::vector<double>& all : seconds) kept.emplace_back(all.begin() + 1, all.end());
  const std::string suffix = absl::StrCat("_d", shape.head_dim, "_q", shape.group, "_", shape.tokens / 1024, "k");
  report.Add(absl::StrCat("attention.int4_speed_rotated", suffix), Median(kept[1]) * 1e3, "ms_of_plain",
             Median(kept[0]) * 1e3, MedianRatio(kept[0], kept[1]));
  report.Add(absl::StrCat("attention.int4_speed_before_rope", suffix), Median(kept[2]) * 1e3, "ms_of_plain",
             Median(kept[0]) * 1e3, MedianRatio(kept[0], kept[2]));
}

int Main(int argc, char** argv) {
  const LoadTestFlags flags = ParseLoadTestFlags(argc, argv);
  Report report(flags);
  const std::unique_ptr<Device> device = CreateHostDevice(0);
  const std::vector<int32_t> lengths = flags.quick ? std::vector<int32_t>{4096} : std::vector<int32_t>{4096, 32768};
  for (const int32_t head_dim : {64, 128}) {
    for (const int32_t group : {1, 8}) {
      for (const int32_t tokens : lengths) {
        Measure(*device, Shape{head_dim, group, tokens}, flags.quick ? 5 : 9, report);
        MeasureForms(*device, Shape{head_dim, group, tokens}, flags.quick ? 5 : 9, report);
      }
    }
  }
  return report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
