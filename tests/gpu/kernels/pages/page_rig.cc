#include "tests/gpu/kernels/pages/page_rig.h"

#include <cstring>

#include "common/base/check.h"
#include "common/compress/arith/affine.h"
#include "common/compress/arith/pack.h"
#include "gpu/kernels/pages/slot.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

// Of channel elements `meta` is that of the group.
std::vector<float> DecodeScalar(Element element, const uint8_t* codes, const uint8_t* meta, int32_t head_dim) {
  if (element == Element::kNone) return {};
  std::vector<float> x(static_cast<size_t>(head_dim));
  if (element == Element::kF32) {
    std::memcpy(x.data(), codes, x.size() * 4);
    return x;
  }
  std::vector<uint8_t> unpacked(x.size());
  if (IsAffine(element)) UnpackCodes(codes, head_dim, ElementBits(element), unpacked.data());
  for (size_t i = 0; i < x.size(); ++i) {
    if (element == Element::kBf16) {
      Bf16 half;
      std::memcpy(&half, codes + 2 * i, 2);
      x[i] = ToFloat(half);
      continue;
    }
    AffinePair pair;
    std::memcpy(&pair, meta + 4 * (IsChannel(element) ? i : IsGrouped(element) ? i / 32 : 0), 4);
    x[i] = AffineValue(unpacked[i], ToFloat(pair.scale), ToFloat(pair.zero));
  }
  return x;
}

}  // namespace

template <typename T>
T* PageRig::New(int64_t count) {
  buffers_.push_back(*device_->Allocate(count * static_cast<int64_t>(sizeof(T))));
  return buffers_.back().As<T>();
}

// Access is held over all copies: opening and closing costs more than the bytes.
void PageRig::Read() {
  if (fresh_) return;
  const HostAccess access(*stream_);
  copies_.resize(buffers_.size());
  for (size_t i = 0; i < buffers_.size(); ++i) {
    Copy& copy = copies_[i];
    copy.device = buffers_[i].As<char>();
    copy.bytes = buffers_[i].bytes();
    copy.lines.resize(static_cast<size_t>(copy.bytes + 63) / 64);
    stream_->Copy(copy.lines.data(), copy.device, copy.bytes);
  }
  DECANT_CHECK(stream_->Synchronize().ok());
  fresh_ = true;
}

void PageRig::Write() {
  const HostAccess access(*stream_);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    stream_->Copy(buffers_[i].As<char>(), copies_[i].lines.data(), copies_[i].bytes);
  }
  DECANT_CHECK(stream_->Synchronize().ok());
}

template <typename T>
T* PageRig::Here(T* address) {
  if (address == nullptr) return nullptr;
  Read();
  const auto* const at = reinterpret_cast<const char*>(address);
  for (Copy& copy : copies_) {
    if (at < copy.device || at >= copy.device + copy.bytes) continue;
    return reinterpret_cast<T*>(copy.lines.data()->bytes + (at - copy.device));
  }
  DECANT_CHECK_MSG(false, "%p is none of the rig's", static_cast<const void*>(address));
}

SequenceRows PageRig::RowsHere(int32_t sequence) {
  SequenceRows here = *Here(rows_ + sequence);
  here.heads = Here(here.heads);
  here.page_ids = Here(here.page_ids);
  here.length = Here(here.length);
  here.keep_shares = Here(here.keep_shares);
  here.balance = Here(here.balance);
  return here;
}

PageArena PageRig::ArenaHere() {
  PageArena here = arena_;
  here.pages = Here(arena_.pages);
  return here;
}

PageRig::PageRig(const RigOptions& options)
    : options_(options),
      device_(options.device ? options.device(int64_t{64} << 20)
                             : CreateTestDevice(options.threads, int64_t{64} << 20)),
      stream_(device_->NewStream()) {
  const int64_t heads = int64_t{options.geometry.layers} * options.geometry.kv_heads;
  arena_.pages = New<uint8_t>(options.page_count * options.page_bytes);
  arena_.page_bytes = options.page_bytes;
  arena_.page_count = options.page_count;
  arena_.geometry = options.geometry;
  for (int32_t id = 1; id < kFormatCount; ++id) {
    arena_.layouts[id] = FitLayout(static_cast<FormatId>(id), options.geometry.head_dim, options.page_bytes);
  }
  ring_.ids = New<int32_t>(options.page_count);
  ring_.head_tail = New<uint64_t>(2);
  ring_.page_count = options.page_count;
  rows_ = New<SequenceRows>(options.sequences);
  scratch_ = New<int32_t>(options.sequences * heads * kTierCount + 3);
  error_ = New<int32_t>(1);
  moved_ = New<int64_t>(2 * options.sequences);
  actions_ = New<StepAction>(options.sequences * heads);
  stream_->Fill(error_, 0, 4);
  stream_->Fill(moved_, 0, 16 * options.sequences);
  for (int32_t s = 0; s < options.sequences; ++s) {
    SequenceRows rows;
    rows.heads = New<HeadState>(heads);
    rows.page_ids = New<int32_t>(heads * options.capacity);
    rows.length = New<int32_t>(1);
    rows.capacity = options.capacity;
    rows.formats[kHigh] = options.high;
    rows.formats[kLow] = options.low;
    rows.formats[kFixed] = options.fixed;
    rows.formats[kTail] = options.tail;
    rows.policy = options.policy;
    rows.alpha_high = options.alpha_high;
    rows.alpha_low = options.alpha_low;
    rows.window = options.window;
    rows.first_query = options.first_query;
    rows.sinks = options.sinks;
    rows.limit = options.limit;
    rows.key_forms[kHigh] = options.key_form;
    rows.key_forms[kLow] = options.key_form;
    if (options.keep_share > 0) {
      const std::vector<float> shares(static_cast<size_t>(options.geometry.layers), options.keep_share);
      float* const device_shares = New<float>(options.geometry.layers);
      stream_->Copy(device_shares, shares.data(), 4 * options.geometry.layers);
      rows.keep_shares = device_shares;
    }
    if (!options.balance.empty()) {
      float* const balance = New<float>(static_cast<int64_t>(options.balance.size()));
      stream_->Copy(balance, options.balance.data(), 4 * static_cast<int64_t>(options.balance.size()));
      rows.balance = balance;
    }
    stream_->Fill(rows.heads, 0, heads * static_cast<int64_t>(sizeof(HeadState)));
    stream_->Fill(rows.length, 0, 4);
    stream_->Copy(rows_ + s, &rows, sizeof(rows));
  }
  ResetRing(*stream_, ring_);
}

void PageRig::Grow(int32_t sequence, int32_t layer, const std::vector<int32_t>& growth) {
  Buffer device_growth = *device_->Allocate(static_cast<int64_t>(growth.size()) * 4);
  stream_->Copy(device_growth.As<int32_t>(), growth.data(), device_growth.bytes());
  GrowRowsArgs args;
  args.arena = arena_;
  args.ring = ring_;
  args.rows = rows(sequence);
  args.layer = layer;
  args.growth = device_growth.As<int32_t>();
  args.scratch = scratch_;
  args.error = error_;
  GrowRows(*stream_, args);
  fresh_ = false;
}

void PageRig::Import(int32_t sequence, int32_t layer, const std::string& batch, const std::vector<ImportRun>& runs) {
  Buffer frames = *device_->Allocate(static_cast<int64_t>(batch.size()) + 1);
  Buffer device_runs = *device_->Allocate(static_cast<int64_t>(runs.size() * sizeof(ImportRun)) + 1);
  stream_->Copy(frames.As<uint8_t>(), batch.data(), static_cast<int64_t>(batch.size()));
  stream_->Copy(device_runs.As<ImportRun>(), runs.data(), static_cast<int64_t>(runs.size() * sizeof(ImportRun)));
  ImportFramesArgs args;
  args.arena = arena_;
  args.rows = rows(sequence);
  args.layer = layer;
  args.frames = frames.As<uint8_t>();
  args.runs = device_runs.As<ImportRun>();
  args.run_count = static_cast<int32_t>(runs.size());
  ImportFrames(*stream_, args);
  DECANT_CHECK(stream_->Synchronize().ok());
  fresh_ = false;
}

void PageRig::GrowAndImport(int32_t sequence, int32_t layer, const std::string& batch,
                            const std::vector<ImportRun>& runs) {
  std::vector<int32_t> growth(static_cast<size_t>(options_.geometry.kv_heads * kTierCount));
  for (const ImportRun& run : runs) growth[static_cast<size_t>(run.head * kTierCount + run.tier)] += run.tokens;
  Grow(sequence, layer, growth);
  Import(sequence, layer, batch, runs);
}

void PageRig::Plan() {
  PlanStepArgs args;
  args.arena = arena_;
  args.ring = ring_;
  args.rows = rows_;
  args.sequences = options_.sequences;
  args.actions = actions_;
  args.scratch = scratch_;
  args.moved = moved_;
  args.error = error_;
  PlanStep(*stream_, args);
  fresh_ = false;
}

void PageRig::Append(const std::function<std::vector<float>(int32_t, int32_t, int32_t, bool)>& token,
                     const std::function<std::vector<float>(int32_t, int32_t, int32_t)>& pre_rope_key) {
  const Geometry& geometry = options_.geometry;
  const int64_t stride = int64_t{geometry.kv_heads} * geometry.head_dim + 3;
  Buffer k = *device_->Allocate(options_.sequences * stride * 4);
  Buffer v = *device_->Allocate(options_.sequences * stride * 4);
  Buffer pre_rope = *device_->Allocate(options_.sequences * stride * 4);
  for (int32_t layer = 0; layer < geometry.layers; ++layer) {
    for (int32_t s = 0; s < options_.sequences; ++s) {
      for (int32_t h = 0; h < geometry.kv_heads; ++h) {
        const int64_t offset = (s * stride + int64_t{h} * geometry.head_dim) * 4;
        stream_->Copy(k.As<uint8_t>(offset), token(s, layer, h, false).data(), int64_t{4} * geometry.head_dim);
        stream_->Copy(v.As<uint8_t>(offset), token(s, layer, h, true).data(), int64_t{4} * geometry.head_dim);
        if (!pre_rope_key) continue;
        stream_->Copy(pre_rope.As<uint8_t>(offset), pre_rope_key(s, layer, h).data(), int64_t{4} * geometry.head_dim);
      }
    }
    AppendTokenArgs args;
    args.arena = arena_;
    args.rows = rows_;
    args.sequences = options_.sequences;
    args.layer = layer;
    args.actions = actions_;
    args.k = k.As<float>();
    args.v = v.As<float>();
    args.kv_stride = stride;
    args.pre_rope_k = pre_rope.As<float>();
    args.pre_rope_stride = stride;
    if (device_->kind() == DeviceKind::kHost || options_.appends_on_device) {
      AppendToken(*stream_, args);
      fresh_ = false;
    } else {
      AppendHere(args);
    }
  }
}

void PageRig::AppendHere(AppendTokenArgs args) {
  const auto device = CreateHostDevice(1);
  const auto stream = device->NewStream();
  const int64_t bytes = options_.sequences * args.kv_stride * 4;
  std::vector<float> vectors[3];
  const float** const addresses[] = {&args.k, &args.v, &args.pre_rope_k};
  for (size_t i = 0; i < 3; ++i) {
    vectors[i].resize(static_cast<size_t>(bytes / 4));
    stream_->Copy(vectors[i].data(), *addresses[i], bytes);
    *addresses[i] = vectors[i].data();
  }
  DECANT_CHECK(stream_->Synchronize().ok());
  std::vector<SequenceRows> rows;
  for (int32_t s = 0; s < options_.sequences; ++s) rows.push_back(RowsHere(s));
  args.arena = ArenaHere();
  args.rows = rows.data();
  args.actions = Here(actions_);
  AppendToken(*stream, args);
  Write();
}

void PageRig::Append(float value) {
  const auto head_dim = static_cast<size_t>(options_.geometry.head_dim);
  Append([&](int32_t, int32_t, int32_t, bool) { return std::vector<float>(head_dim, value); });
}

void PageRig::Advance() {
  AdvanceLengths(*stream_, rows_, options_.sequences);
  fresh_ = false;
}

void PageRig::Release(int32_t sequence) {
  ReleaseRows(*stream_, arena_, ring_, rows(sequence), 1);
  fresh_ = false;
}

HeadState PageRig::Head(int32_t sequence, int32_t layer, int32_t head) {
  return *RowOf(RowsHere(sequence), arena_.geometry, layer, head).state;
}

std::vector<int32_t> PageRig::PageIds(int32_t sequence, int32_t layer, int32_t head, int32_t tier) {
  const HeadRow row = RowOf(RowsHere(sequence), arena_.geometry, layer, head);
  std::vector<int32_t> ids;
  for (int32_t page = 0; page < row.state->pages[tier]; ++page) {
    ids.push_back(row.page_ids[RowPlace(*row.state, row.capacity, tier, page)]);
  }
  return ids;
}

StepAction PageRig::Action(int32_t sequence, int32_t layer, int32_t head) {
  const Geometry& geometry = arena_.geometry;
  return Here(actions_)[(sequence * geometry.layers + layer) * geometry.kv_heads + head];
}

std::vector<StoredToken> PageRig::Tokens(int32_t sequence, int32_t layer, int32_t head, int32_t tier) {
  const SequenceRows sequence_rows = RowsHere(sequence);
  const PageArena arena = ArenaHere();
  const HeadRow row = RowOf(sequence_rows, arena_.geometry, layer, head);
  const FormatId id = sequence_rows.formats[tier];
  const Format format = FormatOf(id);
  std::vector<StoredToken> tokens;
  for (int32_t slot = 0; slot < row.state->tokens[tier]; ++slot) {
    const TokenSlot at = SlotAt(arena, row, id, tier, slot);
    StoredToken token;
    if (format.tracked) {
      token.position = *at.position;
      token.score = *at.score;
    }
    const uint8_t* key_meta = IsChannel(format.k) ? ChannelPairsAt(arena, row, id, tier, slot) : at.key_meta;
    token.k = DecodeScalar(format.k, at.keys, key_meta, arena_.geometry.head_dim);
    token.v = DecodeScalar(format.v, at.values, at.value_meta, arena_.geometry.head_dim);
    tokens.push_back(token);
  }
  return tokens;
}

void PageRig::AddScores(int32_t sequence, int32_t layer, int32_t head, const std::function<float(int32_t)>& attention) {
  const SequenceRows sequence_rows = RowsHere(sequence);
  const PageArena arena = ArenaHere();
  const HeadRow row = RowOf(sequence_rows, arena_.geometry, layer, head);
  for (int32_t tier = kHigh; tier <= kLow; ++tier) {
    for (int32_t slot = 0; slot < row.state->tokens[tier]; ++slot) {
      const TokenSlot at = SlotAt(arena, row, sequence_rows.formats[tier], tier, slot);
      *at.score += attention(*at.position);
    }
  }
  stream_->Copy(arena_.pages, arena.pages, arena.page_count * arena.page_bytes);
  DECANT_CHECK(stream_->Synchronize().ok());
}

int64_t PageRig::FreePages() {
  const uint64_t* head_tail = Here(ring_.head_tail);
  return static_cast<int64_t>(head_tail[1] - head_tail[0]);
}

std::vector<int32_t> PageRig::FreeIds() {
  std::vector<int32_t> ids;
  const uint64_t* head_tail = Here(ring_.head_tail);
  for (uint64_t at = head_tail[0]; at < head_tail[1]; ++at) {
    ids.push_back(Here(ring_.ids)[at % static_cast<uint64_t>(ring_.page_count)]);
  }
  return ids;
}

int64_t PageRig::demoted() { return SumMoved(0); }

int64_t PageRig::dropped() { return SumMoved(1); }

int64_t PageRig::SumMoved(int32_t column) {
  int64_t sum = 0;
  for (int32_t s = 0; s < options_.sequences; ++s) sum += Here(moved_)[2 * s + column];
  return sum;
}

bool PageRig::TookError() {
  const bool error = *Here(error_) != 0;
  stream_->Fill(error_, 0, 4);
  fresh_ = false;
  return error;
}

std::vector<int64_t> PageRig::Counts(int32_t sequence) {
  Buffer out = *device_->Allocate(2 * kTierCount * 8);
  CountRows(*stream_, arena_, rows(sequence), out.As<int64_t>());
  std::vector<int64_t> counts(2 * kTierCount);
  stream_->Copy(counts.data(), out.As<int64_t>(), 2 * kTierCount * 8);
  DECANT_CHECK(stream_->Synchronize().ok());
  return counts;
}

void PageRig::SetLength(int32_t sequence, int32_t length) {
  *RowsHere(sequence).length = length;
  Write();
}

}  // namespace decant
