// The lossless coders on one core, in its own CPU time, beside memcpy of the same bytes in the same round. Rates count
// bytes of the segment, not of the block.
#include <cmath>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/half.h"
#include "common/base/random.h"
#include "common/compress/code/block.h"
#include "load_tests/support/report.h"

namespace decant {
namespace {

using Bytes = std::vector<uint8_t>;

float Normal(uint64_t seed, uint64_t i) {
  const float u = UniformFloat(seed, 2 * i) + 1e-8f;
  return std::sqrt(-2 * std::log(u)) * std::cos(6.2831853f * UniformFloat(seed, 2 * i + 1));
}

// Codes of a bell curve in `levels` steps over +-3 deviations, packed.
Bytes PackedCodes(int64_t bytes, int32_t levels, int32_t bits) {
  Bytes packed(static_cast<size_t>(bytes));
  const int64_t per_byte = 8 / bits;
  for (int64_t i = 0; i < bytes * per_byte; ++i) {
    const float unit = (Normal(static_cast<uint64_t>(levels), static_cast<uint64_t>(i)) + 3) / 6;
    const float clamped = unit < 0 ? 0 : unit > 1 ? 1 : unit;
    const auto code = static_cast<uint32_t>(std::lround(clamped * static_cast<float>(levels - 1)));
    uint8_t& byte = packed[static_cast<size_t>(i / per_byte)];
    byte = static_cast<uint8_t>(byte | code << (i % per_byte * bits));
  }
  return packed;
}

Bytes NormalBf16(int64_t bytes) {
  Bytes values(static_cast<size_t>(bytes));
  for (size_t i = 0; i < values.size() / 2; ++i) {
    const Bf16 value = ToBf16(Normal(77, i));
    std::memcpy(values.data() + 2 * i, &value, 2);
  }
  return values;
}

Bytes KeptPositions(int64_t bytes) {
  Bytes values(static_cast<size_t>(bytes));
  uint16_t position = 0;
  for (size_t i = 0; i < values.size() / 2; ++i) {
    position = static_cast<uint16_t>(position + 1 + MixBits(5, i) % 5);
    std::memcpy(values.data() + 2 * i, &position, 2);
  }
  return values;
}

struct Case {
  std::string name;
  Coder coder;
  Bytes segment;
  bool shared = false;  // with a table counted over the whole segment
};

// Codes the segment in blocks of `block_bytes`.
void Measure(const Case& test, int64_t block_bytes, int rounds, Report& report) {
  const auto bytes = static_cast<int64_t>(test.segment.size());
  const int64_t blocks = bytes / block_bytes;
  const int64_t stride = MaxBlockBytes(block_bytes);
  Bytes coded(static_cast<size_t>(blocks * stride));
  std::vector<int64_t> sizes(static_cast<size_t>(blocks));
  Bytes back(test.segment.size());
  std::optional<SharedRansTable> table;
  if (test.shared) {
    RansCounts counts{};
    CountBlockSymbols(test.coder, test.segment, counts);
    table = SharedRansTable::Create(counts, CoderAlphabet(test.coder)).value();
  }
  const SharedRansTable* shared = table.has_value() ? &*table : nullptr;
  const auto size_of = [](int64_t size) { return static_cast<size_t>(size); };
  const auto in = [&](int64_t b) {
    return absl::MakeConstSpan(test.segment).subspan(size_of(b * block_bytes), size_of(block_bytes));
  };
  const auto timed = [&](const std::function<void(int64_t)>& one) {
    const double start = CpuSeconds();
    for (int64_t b = 0; b < blocks; ++b) one(b);
    return CpuSeconds() - start;
  };
  const auto encode = [&](int64_t b) {
    const auto room = absl::MakeSpan(coded).subspan(size_of(b * stride), size_of(stride));
    const auto size = EncodeBlock(test.coder, in(b), room, shared);
    DECANT_CHECK(size.ok());
    sizes[size_of(b)] = *size;
  };
  const auto decode = [&](int64_t b) {
    const auto block = absl::MakeConstSpan(coded).subspan(size_of(b * stride), size_of(sizes[size_of(b)]));
    const auto out = absl::MakeSpan(back).subspan(size_of(b * block_bytes), size_of(block_bytes));
    DECANT_CHECK(DecodeBlock(block, out, shared).ok());
  };
  const auto copy = [&](int64_t b) {
    std::memcpy(back.data() + b * block_bytes, test.segment.data() + b * block_bytes, static_cast<size_t>(block_bytes));
  };
  const auto seconds = InterleavedRounds(
      rounds, {[&] { return timed(copy); }, [&] { return timed(encode); }, [&] { return timed(decode); }});
  DECANT_CHECK(back == test.segment);

  int64_t coded_bytes = 0;
  for (const int64_t size : sizes) coded_bytes += size;
  const double megabytes = static_cast<double>(blocks * block_bytes) * 1e-6;
  const std::string name = absl::StrCat("coder.", test.name, "_", block_bytes / 1024, "k");
  report.Add(absl::StrCat(name, ".ratio"), static_cast<double>(coded_bytes) / static_cast<double>(blocks * block_bytes),
             "of_raw");
  const double copy_rate = megabytes / Median(seconds[0]);
  report.Add(absl::StrCat(name, ".encode"), megabytes / Median(seconds[1]), "MB/s_of_memcpy", copy_rate,
             MedianRatio(seconds[0], seconds[1]));
  report.Add(absl::StrCat(name, ".decode"), megabytes / Median(seconds[2]), "MB/s_of_memcpy", copy_rate,
             MedianRatio(seconds[0], seconds[2]));
}

int Main(int argc, char** argv) {
  const LoadTestFlags flags = ParseLoadTestFlags(argc, argv);
  Report report(flags);
  const int64_t bytes = flags.quick ? int64_t{2} << 20 : int64_t{16} << 20;
  const std::vector<Case> cases = {{"rans8_256levels", Coder::kRans8, PackedCodes(bytes, 256, 8)},
                                   {"rans8_25levels", Coder::kRans8, PackedCodes(bytes, 25, 8)},
                                   {"rans4_13levels", Coder::kRans4, PackedCodes(bytes, 13, 4)},
                                   {"rans4_13levels_shared", Coder::kRans4, PackedCodes(bytes, 13, 4), true},
                                   {"rans8_pairs_of_13levels", Coder::kRans8, PackedCodes(bytes, 13, 4)},
                                   {"rans8_fours_of_3levels", Coder::kRans8, PackedCodes(bytes, 3, 2)},
                                   {"rans2_3levels", Coder::kRans2, PackedCodes(bytes, 3, 2)},
                                   {"bf16_exponent", Coder::kBf16Exponent, NormalBf16(bytes)},
                                   {"positions", Coder::kPositions, KeptPositions(bytes)}};
  for (const Case& test : cases) {
    // A coded frame has one block for each kind of segment of a chunk, all heads together: keys of 8 bits take 8 KiB
    // on decant-tiny, 12 on SmolLM2 and 64 on an 8B model (8 heads of 128), of bf16 twice that.
    for (const int64_t block : {int64_t{4} << 10, int64_t{16} << 10, int64_t{64} << 10, int64_t{128} << 10}) {
      Measure(test, block, flags.quick ? 5 : 7, report);
    }
  }
  return report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Main(argc, argv); }
