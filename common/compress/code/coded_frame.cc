#include "common/compress/code/coded_frame.h"

#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compress/code/block.h"
#include "common/kv/envelope.h"
#include "common/kv/frame_fields.h"
#include "common/kv/reject_reason.h"

namespace decant {
namespace {

struct Piece {
  int64_t start = 0;  // from the frame's first byte
  int64_t bytes = 0;
};

// What one block holds: bytes [first, first + width) of every record of its pieces, one piece after another.
struct CodedStream {
  std::vector<Piece> pieces;
  int64_t record = 1;
  int64_t first = 0;
  int64_t width = 1;
  std::array<Coder, 2> coders = {Coder::kRaw, Coder::kRaw};  // the shorter result is taken

  int64_t bytes() const {
    int64_t sum = 0;
    for (const Piece& piece : pieces) sum += piece.bytes;
    return sum / record * width;
  }
};

class StreamList {
 public:
  StreamList(const FrameHeader& header, const FrameLayout& layout) : header_(header), layout_(layout) {
    for (size_t tier = 0; tier < kFrameTiers; ++tier) {
      const FormatId id = header.formats[tier];
      const Format format = FormatOf(id);
      AddVectors(format.k, PiecesOf(tier, &FrameRun::keys, &StreamList::KeyBytes));
      AddPairs(PiecesOf(tier, &FrameRun::key_meta, &StreamList::KeyMetaBytes));
      AddVectors(format.v, PiecesOf(tier, &FrameRun::values, &StreamList::ValueBytes));
      AddPairs(PiecesOf(tier, &FrameRun::value_meta, &StreamList::ValueMetaBytes));
      if (header.explicit_positions) {
        AddWhole(PiecesOf(tier, &FrameRun::positions, &StreamList::PositionBytes), Coder::kPositions);
      }
      AddWhole(PiecesOf(tier, &FrameRun::statistics, &StreamList::RangeBytes), Coder::kBf16Exponent);
    }
    if (layout.balance < 0) return;
    const int64_t floats = int64_t{header.layers} * header.heads * header.head_dim;
    AddVectors(Element::kF32, {{layout.balance - layout.offset, 4 * floats}});
  }

  const std::vector<CodedStream>& streams() const { return streams_; }

 private:
  using BytesOf = int64_t (StreamList::*)(FormatId, int64_t) const;

  int64_t KeyBytes(FormatId id, int64_t tokens) const { return tokens * VectorBytes(FormatOf(id).k, header_.head_dim); }
  int64_t ValueBytes(FormatId id, int64_t tokens) const {
    return tokens * VectorBytes(FormatOf(id).v, header_.head_dim);
  }
  int64_t KeyMetaBytes(FormatId id, int64_t tokens) const {
    return MetaSegmentBytes(FormatOf(id).k, header_.head_dim, tokens);
  }
  int64_t ValueMetaBytes(FormatId id, int64_t tokens) const {
    return MetaSegmentBytes(FormatOf(id).v, header_.head_dim, tokens);
  }
  int64_t PositionBytes(FormatId, int64_t tokens) const { return 2 * tokens; }
  int64_t RangeBytes(FormatId id, int64_t tokens) const { return StatisticsBytes(id, header_.head_dim, tokens); }

  std::vector<Piece> PiecesOf(size_t tier, int64_t FrameRun::*place, BytesOf bytes_of) const {
    std::vector<Piece> pieces;
    for (size_t i = tier; i < layout_.runs.size(); i += kFrameTiers) {
      const FrameRun& run = layout_.runs[i];
      const int64_t bytes = (this->*bytes_of)(header_.formats[tier], run.tokens);
      if (bytes > 0) pieces.push_back({run.*place - layout_.offset, bytes});
    }
    return pieces;
  }

  void Add(CodedStream stream) {
    if (!stream.pieces.empty()) streams_.push_back(std::move(stream));
  }
  void AddWhole(std::vector<Piece> pieces, Coder coder) { Add({std::move(pieces), 1, 0, 1, {coder, coder}}); }

  void AddVectors(Element element, std::vector<Piece> pieces) {
    if (element == Element::kF32) {
      Add({pieces, 4, 2, 2, {Coder::kBf16Exponent, Coder::kBf16Exponent}});
      Add({std::move(pieces), 4, 0, 2, {Coder::kRaw, Coder::kRaw}});
      return;
    }
    if (element == Element::kBf16) return AddWhole(std::move(pieces), Coder::kBf16Exponent);
    // Bytes of several codes see that neighbours are alike, when there are enough of them to pay for 256 frequencies.
    Add({std::move(pieces), 1, 0, 1, {CoderOfBits(ElementBits(element)), Coder::kRans8}});
  }

  void AddPairs(std::vector<Piece> pieces) {
    Add({pieces, 4, 0, 2, {Coder::kFp16High, Coder::kFp16High}});
    Add({std::move(pieces), 4, 2, 2, {Coder::kFp16High, Coder::kFp16High}});
  }

  const FrameHeader& header_;
  const FrameLayout& layout_;
  std::vector<CodedStream> streams_;
};

void Gather(const CodedStream& stream, const uint8_t* frame, uint8_t* to) {
  const bool whole = stream.record == stream.width;
  for (const Piece& piece : stream.pieces) {
    const uint8_t* from = frame + piece.start;
    const int64_t step = whole ? piece.bytes : stream.record;
    const int64_t width = whole ? piece.bytes : stream.width;
    for (int64_t at = 0; at < piece.bytes; at += step, to += width) {
      std::memcpy(to, from + at + stream.first, static_cast<size_t>(width));
    }
  }
}

void Scatter(const CodedStream& stream, const uint8_t* from, uint8_t* frame) {
  const bool whole = stream.record == stream.width;
  for (const Piece& piece : stream.pieces) {
    uint8_t* to = frame + piece.start;
    const int64_t step = whole ? piece.bytes : stream.record;
    const int64_t width = whole ? piece.bytes : stream.width;
    for (int64_t at = 0; at < piece.bytes; at += step, from += width) {
      std::memcpy(to + at + stream.first, from, static_cast<size_t>(width));
    }
  }
}

// The block of the coder that makes the least of `bytes`, behind its size.
void AppendBlock(const CodedStream& stream, absl::Span<const uint8_t> bytes, std::string& out) {
  std::vector<uint8_t> best;
  for (size_t i = 0; i < stream.coders.size(); ++i) {
    if (i > 0 && stream.coders[i] == stream.coders[0]) continue;
    std::vector<uint8_t> block(static_cast<size_t>(MaxBlockBytes(static_cast<int64_t>(bytes.size()))));
    const auto size = EncodeBlock(stream.coders[i], bytes, absl::MakeSpan(block));
    DECANT_CHECK_MSG(size.ok(), "%s", size.status().ToString().c_str());
    block.resize(static_cast<size_t>(*size));
    if (best.empty() || block.size() < best.size()) best = std::move(block);
  }
  ByteWriter writer(out);
  writer.Put(static_cast<uint32_t>(best.size()));
  writer.PutBytes({reinterpret_cast<const char*>(best.data()), best.size()});
}

int64_t HeadBytes(const FrameHeader& header) {
  return FrameHeaderBytes(header.version) + DirectoryBytes(header.version, header.layers, header.heads);
}

// The header of the frame that `coded` describes and where its segments will stand, checked like a frame's.
absl::Status ReadFrameHead(absl::string_view coded, FrameHeader& header, FrameLayout& layout) {
  const auto lost = [](const auto&... parts) {
    return WithRejectReason(absl::DataLossError(absl::StrCat("coded frame: ", parts..., "; treat it as a miss")),
                            "malformed");
  };
  const absl::string_view frame = coded.substr(kEnvelopeBytes);
  header.version = EnvelopeVersion(frame, 0) == 1 ? 1 : kFrameVersion;
  const int64_t header_bytes = FrameHeaderBytes(header.version);
  if (static_cast<int64_t>(frame.size()) < header_bytes) return lost("ends inside the frame's header");
  if (const std::string mistake = GetFrameFields(frame, header); !mistake.empty()) return lost(mistake);
  if (const std::string mistake = FrameMistake(header, {}); !mistake.empty()) return lost(mistake);
  const std::vector<int32_t> counts =
      GetCounts(header.version, header.layers, header.heads, frame.substr(static_cast<size_t>(header_bytes)));
  if (counts.empty() || static_cast<int64_t>(frame.size()) < HeadBytes(header)) {
    return lost("ends inside the frame's directory");
  }
  if (const std::string mistake = FrameMistake(header, counts); !mistake.empty()) return lost(mistake);
  layout = PlaceFrame(header, counts, 0);
  if (layout.bytes > kMostExpansion * static_cast<int64_t>(coded.size())) {
    return lost(coded.size(), " bytes for a frame of ", layout.bytes);
  }
  return absl::OkStatus();
}

}  // namespace

std::string CodeFrame(const FrameView& frame) {
  const auto* plain = reinterpret_cast<const uint8_t*>(frame.bytes.data());
  const auto head = static_cast<size_t>(HeadBytes(frame.header));
  std::string coded;
  PutEnvelope({kCodedFrameMagic, kCodedFrameVersion, static_cast<uint16_t>(kEnvelopeBytes), 0, 0}, coded);
  coded.append(frame.bytes.data(), head);
  std::string restorable(frame.bytes.data(), head);
  restorable.resize(frame.bytes.size(), '\0');
  const StreamList list(frame.header, frame.layout);
  std::vector<uint8_t> bytes;
  for (const CodedStream& stream : list.streams()) {
    bytes.resize(static_cast<size_t>(stream.bytes()));
    Gather(stream, plain, bytes.data());
    Scatter(stream, bytes.data(), reinterpret_cast<uint8_t*>(restorable.data()));
    AppendBlock(stream, bytes, coded);
  }
  coded.resize(static_cast<size_t>(AlignFrame(static_cast<int64_t>(coded.size()))), '\0');
  const bool shorter = coded.size() < frame.bytes.size();
  const bool restores = frame.bytes.size() <= static_cast<size_t>(kMostExpansion) * coded.size();
  if (!shorter || !restores || restorable != frame.bytes) return std::string();
  const auto size = static_cast<uint32_t>(coded.size());
  std::memcpy(coded.data() + 8, &size, sizeof(size));
  SealEnvelope(reinterpret_cast<uint8_t*>(coded.data()), static_cast<int64_t>(coded.size()));
  return coded;
}

absl::StatusOr<RestoredFrame> RestoreFrame(absl::string_view batch, int64_t offset) {
  const Envelope expected{kCodedFrameMagic, kCodedFrameVersion, static_cast<uint16_t>(kEnvelopeBytes), 0, 0};
  DECANT_ASSIGN_OR_RETURN(const absl::string_view coded, OpenEnvelope(batch, offset, expected, "coded frame"));
  const auto lost = [&](const auto&... parts) {
    return WithRejectReason(
        absl::DataLossError(absl::StrCat("coded frame at byte ", offset, ": ", parts..., "; treat it as a miss")),
        "malformed");
  };
  FrameHeader header;
  FrameLayout layout;
  DECANT_RETURN_IF_ERROR(ReadFrameHead(coded, header, layout));
  RestoredFrame restored;
  restored.coded_bytes = static_cast<int64_t>(coded.size());
  restored.frame.assign(coded.data() + kEnvelopeBytes, static_cast<size_t>(HeadBytes(header)));
  restored.frame.resize(static_cast<size_t>(layout.bytes), '\0');
  ByteReader reader(coded.substr(static_cast<size_t>(kEnvelopeBytes + HeadBytes(header))));
  const StreamList list(header, layout);
  std::vector<uint8_t> bytes;
  for (const CodedStream& stream : list.streams()) {
    const absl::string_view block = reader.GetString();
    if (!reader.ok()) return lost("a block ends early");
    bytes.resize(static_cast<size_t>(stream.bytes()));
    const absl::Status decoded =
        DecodeBlock({reinterpret_cast<const uint8_t*>(block.data()), block.size()}, absl::MakeSpan(bytes));
    // No coded frame names a shared table.
    if (!decoded.ok()) return lost(decoded.message());
    Scatter(stream, bytes.data(), reinterpret_cast<uint8_t*>(restored.frame.data()));
  }
  const absl::string_view padding = reader.rest();
  if (padding.size() >= static_cast<size_t>(kEnvelopeBytes) || padding.find_first_not_of('\0') != padding.npos) {
    return lost(padding.size(), " bytes behind the last block");
  }
  return restored;
}

}  // namespace decant
