#include "common/kv/frame.h"

#include <cstring>
#include <limits>
#include <string>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/kv/envelope.h"
#include "common/kv/frame_fields.h"

namespace decant {
namespace {

// Hands out the places of segments in the order of the bytes.
class SegmentCursor {
 public:
  SegmentCursor(int64_t base, int64_t offset) : base_(base), end_(offset) {}

  int64_t Place(int64_t bytes) {
    const int64_t start = AlignFrame(end_);
    end_ = start + bytes;
    return base_ + start;
  }
  int64_t end() const { return AlignFrame(end_); }

 private:
  int64_t base_;
  int64_t end_;
};

int64_t BalanceBytes(const FrameHeader& header) { return int64_t{4} * header.layers * header.heads * header.head_dim; }

void ZeroPadding(const FrameHeader& header, const FrameLayout& layout, uint8_t* batch) {
  int64_t end = layout.offset + kFrameHeaderBytes + DirectoryBytes(header.version, header.layers, header.heads);
  const auto skip = [&](int64_t start, int64_t bytes) {
    std::memset(batch + end, 0, static_cast<size_t>(start - end));
    end = start + bytes;
  };
  for (size_t i = 0; i < layout.runs.size(); ++i) {
    const FrameRun& run = layout.runs[i];
    const Format format = FormatOf(header.formats[i % kFrameTiers]);
    skip(run.keys, run.tokens * VectorBytes(format.k, header.head_dim));
    skip(run.key_meta, MetaSegmentBytes(format.k, header.head_dim, run.tokens));
    skip(run.values, run.tokens * VectorBytes(format.v, header.head_dim));
    skip(run.value_meta, MetaSegmentBytes(format.v, header.head_dim, run.tokens));
    if (run.positions >= 0) skip(run.positions, int64_t{2} * run.tokens);
    skip(run.statistics, StatisticsBytes(header.formats[i % kFrameTiers], header.head_dim, run.tokens));
  }
  if (layout.balance >= 0) skip(layout.balance, BalanceBytes(header));
  skip(layout.offset + layout.bytes, 0);
}

}  // namespace

FrameLayout PlaceFrame(const FrameHeader& header, absl::Span<const int32_t> counts, int64_t offset) {
  FrameLayout layout;
  layout.offset = offset;
  layout.heads = header.heads;
  layout.runs.resize(counts.size());
  SegmentCursor cursor(offset,
                       FrameHeaderBytes(header.version) + DirectoryBytes(header.version, header.layers, header.heads));
  for (size_t i = 0; i < counts.size(); ++i) {
    const Format format = FormatOf(header.formats[i % kFrameTiers]);
    FrameRun& run = layout.runs[i];
    run.tokens = counts[i];
    run.keys = cursor.Place(run.tokens * VectorBytes(format.k, header.head_dim));
    run.key_meta = cursor.Place(MetaSegmentBytes(format.k, header.head_dim, run.tokens));
    run.values = cursor.Place(run.tokens * VectorBytes(format.v, header.head_dim));
    run.value_meta = cursor.Place(MetaSegmentBytes(format.v, header.head_dim, run.tokens));
    if (header.explicit_positions) run.positions = cursor.Place(int64_t{2} * run.tokens);
    run.statistics = cursor.Place(StatisticsBytes(header.formats[i % kFrameTiers], header.head_dim, run.tokens));
  }
  if (header.key_form.balanced != 0) layout.balance = cursor.Place(BalanceBytes(header));
  layout.bytes = cursor.end();
  return layout;
}

FrameLayout LayOutFrame(const FrameHeader& header, absl::Span<const int32_t> counts, int64_t offset) {
  const std::string mistake = FrameMistake(header, counts);
  DECANT_CHECK_MSG(mistake.empty(), "%s", mistake.c_str());
  DECANT_CHECK(header.version == kFrameVersion);
  DECANT_CHECK(offset >= 0 && offset % kFrameAlignment == 0);
  FrameLayout layout = PlaceFrame(header, counts, offset);
  DECANT_CHECK(layout.bytes <= int64_t{std::numeric_limits<int32_t>::max()});
  return layout;
}

int64_t WireBytes(const FrameHeader& header, absl::Span<const int32_t> counts) {
  return LayOutFrame(header, counts).bytes;
}

void SealFrame(const FrameHeader& header, const FrameLayout& layout, uint8_t* batch) {
  std::string head;
  PutEnvelope({kFrameMagic, kFrameVersion, kFrameHeaderBytes, static_cast<uint32_t>(layout.bytes), 0}, head);
  PutFrameFields(header, head);
  DECANT_CHECK(head.size() == kFrameHeaderBytes);
  ByteWriter directory(head);
  for (const FrameRun& run : layout.runs) directory.Put(static_cast<uint16_t>(run.tokens));
  head.resize(static_cast<size_t>(kFrameHeaderBytes + DirectoryBytes(header.version, header.layers, header.heads)),
              '\0');
  std::memcpy(batch + layout.offset, head.data(), head.size());
  ZeroPadding(header, layout, batch);
  SealEnvelope(batch + layout.offset, layout.bytes);
}

}  // namespace decant
