#include "common/compress/code/block.h"

#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/compress/code/positions.h"
#include "common/compress/code/rans.h"

namespace decant {
namespace {

constexpr uint8_t kCoderMask = 0x0f;
constexpr uint8_t kLanesShift = 4;
constexpr uint8_t kSharedFlag = 0x80;

std::optional<SymbolSource> SourceOf(Coder coder) {
  switch (coder) {
    case Coder::kRans8:
      return SymbolSource::kPacked8;
    case Coder::kRans4:
      return SymbolSource::kPacked4;
    case Coder::kRans2:
      return SymbolSource::kPacked2;
    case Coder::kRans1:
      return SymbolSource::kPacked1;
    case Coder::kBf16Exponent:
      return SymbolSource::kBf16Exponent;
    case Coder::kFp16High:
      return SymbolSource::kFp16High;
    case Coder::kRaw:
    case Coder::kPositions:
      break;
  }
  return std::nullopt;
}

uint8_t Flag(Coder coder, RansForm form) {
  const auto logarithm = static_cast<uint32_t>(__builtin_ctz(static_cast<uint32_t>(form.lanes)));
  return static_cast<uint8_t>(static_cast<uint32_t>(coder) | logarithm << kLanesShift |
                              (form.shared ? uint32_t{kSharedFlag} : 0u));
}

// The flag byte into `out[0]`, the body behind it; the block's bytes, or nothing when it is not below the raw form.
std::optional<int64_t> EncodeShorter(Coder coder, absl::Span<const uint8_t> in, absl::Span<uint8_t> out,
                                     const SharedRansTable* shared) {
  if (in.empty()) return std::nullopt;
  const absl::Span<uint8_t> body = out.subspan(1, in.size() - 1);
  if (coder == Coder::kPositions) {
    const std::optional<int64_t> bytes = EncodePositions(in, body);
    if (!bytes.has_value()) return std::nullopt;
    out[0] = Flag(coder, RansForm());
    return 1 + *bytes;
  }
  const std::optional<SymbolSource> source = SourceOf(coder);
  if (!source.has_value()) return std::nullopt;
  const std::optional<RansBody> coded = EncodeRans(*source, in, body, shared);
  if (!coded.has_value()) return std::nullopt;
  out[0] = Flag(coder, coded->form);
  return 1 + coded->bytes;
}

}  // namespace

Coder CoderOfBits(int32_t bits) {
  if (bits == 8) return Coder::kRans8;
  if (bits == 4) return Coder::kRans4;
  if (bits == 2) return Coder::kRans2;
  return bits == 1 ? Coder::kRans1 : Coder::kRaw;
}

int32_t CoderAlphabet(Coder coder) {
  const std::optional<SymbolSource> source = SourceOf(coder);
  return source.has_value() ? SourceAlphabet(*source) : 0;
}

absl::StatusOr<int64_t> EncodeBlock(Coder coder, absl::Span<const uint8_t> in, absl::Span<uint8_t> out,
                                    const SharedRansTable* shared) {
  const int64_t largest = MaxBlockBytes(static_cast<int64_t>(in.size()));
  if (static_cast<int64_t>(out.size()) < largest) {
    return absl::InvalidArgumentError(
        absl::StrCat("a block of ", in.size(), " bytes needs room for ", largest, ", not ", out.size()));
  }
  const std::optional<int64_t> shorter = EncodeShorter(coder, in, out, shared);
  if (shorter.has_value()) return *shorter;
  out[0] = static_cast<uint8_t>(Coder::kRaw);
  if (!in.empty()) std::memcpy(out.data() + 1, in.data(), in.size());
  return largest;
}

absl::Status DecodeBlock(absl::Span<const uint8_t> in, absl::Span<uint8_t> out, const SharedRansTable* shared) {
  if (in.empty()) return absl::DataLossError("a block of 0 bytes has no flag byte");
  const uint8_t flag = in[0];
  const auto coder = static_cast<Coder>(flag & kCoderMask);
  const RansForm form{1 << ((flag & ~kSharedFlag) >> kLanesShift), (flag & kSharedFlag) != 0};
  const absl::Span<const uint8_t> body = in.subspan(1);
  const std::optional<SymbolSource> source = SourceOf(coder);
  if (source.has_value() && form.lanes <= kMaxRansLanes) return DecodeRans(*source, form, body, out, shared);
  if (flag == static_cast<uint8_t>(Coder::kPositions)) return DecodePositions(body, out);
  if (flag != static_cast<uint8_t>(Coder::kRaw)) {
    return absl::DataLossError(absl::StrCat("flag byte ", flag, " names no coder"));
  }
  if (body.size() != out.size()) {
    return absl::DataLossError(absl::StrCat("a raw block of ", body.size(), " bytes for ", out.size()));
  }
  if (!body.empty()) std::memcpy(out.data(), body.data(), body.size());
  return absl::OkStatus();
}

void CountBlockSymbols(Coder coder, absl::Span<const uint8_t> in, RansCounts& counts) {
  const std::optional<SymbolSource> source = SourceOf(coder);
  if (source.has_value()) CountRansSymbols(*source, in, counts);
}

}  // namespace decant
