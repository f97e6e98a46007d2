#include "common/compress/code/rans_decode.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/compress/code/rans_decode.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {
namespace {

// Only targets with eight 32-bit lanes and gathers beat the plain loop.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL

namespace hn = hwy::HWY_NAMESPACE;

using Words = hn::CappedTag<uint32_t, 8>;
using V = hn::Vec<Words>;
constexpr Words kWords;
constexpr int64_t kLanes = 8;

// By the set of lanes that are due a word: which word each of them takes.
struct ExpandTable {
  HWY_ALIGN uint8_t word_of[256][8];
  constexpr ExpandTable() : word_of() {
    for (uint32_t due = 0; due < 256; ++due) {
      uint8_t next = 0;
      for (uint32_t lane = 0; lane < 8; ++lane) word_of[due][lane] = (due >> lane & 1u) != 0 ? next++ : uint8_t{0};
    }
  }
};
constexpr ExpandTable kExpand;

// One round of eight states: writes eight symbols, takes up to eight words.
HWY_INLINE V Round(const uint32_t* slots, V state, const uint8_t*& next, uint8_t* symbols) {
  const hn::RebindToSigned<Words> signed_words;
  const hn::Rebind<uint8_t, Words> bytes;
  const hn::Rebind<uint16_t, Words> halves;
  const V mask = hn::Set(kWords, kRansScale - 1);
  const V slot = hn::GatherIndex(kWords, slots, hn::BitCast(signed_words, hn::And(state, mask)));
  hn::StoreU(hn::U8FromU32(hn::And(slot, hn::Set(kWords, 0xffu))), bytes, symbols);
  const V frequency = hn::And(hn::ShiftRight<8>(slot), mask);
  const V taken = hn::Add(hn::Mul(frequency, hn::ShiftRight<kRansScaleBits>(state)), hn::ShiftRight<20>(slot));
  const auto due = hn::Eq(hn::ShiftRight<16>(taken), hn::Zero(kWords));
  uint8_t due_bits[8];
  hn::StoreMaskBits(kWords, due, due_bits);
  const V order = hn::PromoteTo(kWords, hn::LoadU(bytes, kExpand.word_of[due_bits[0]]));
  const V words = hn::PromoteTo(kWords, hn::LoadU(halves, reinterpret_cast<const uint16_t*>(next)));
  const V fresh = hn::TableLookupLanes(words, hn::IndicesFromVec(kWords, order));
  next += 2 * __builtin_popcount(due_bits[0]);
  return hn::IfThenElse(due, hn::Or(hn::ShiftLeft<16>(taken), fresh), taken);
}

template <int kVectors>
int64_t Rounds(const RansSlots& slots, int64_t count, RansReader& reader, uint8_t* symbols) {
  V states[kVectors];
  for (int v = 0; v < kVectors; ++v) states[v] = hn::LoadU(kWords, reader.states.data() + v * kLanes);
  const uint8_t* next = reader.next;
  int64_t done = 0;
  // Every vector loads eight words, wanted or not.
  while (count - done >= kVectors * kLanes && reader.end - next >= kVectors * kLanes * 2) {
    for (int v = 0; v < kVectors; ++v) {
      states[v] = Round(slots.data(), states[v], next, symbols + done);
      done += kLanes;
    }
  }
  reader.next = next;
  for (int v = 0; v < kVectors; ++v) hn::StoreU(states[v], kWords, reader.states.data() + v * kLanes);
  return done;
}

int64_t RoundsTarget(const RansSlots& slots, int64_t count, RansReader& reader, uint8_t* symbols) {
  if (reader.lanes == 32) return Rounds<4>(slots, count, reader, symbols);
  if (reader.lanes == 16) return Rounds<2>(slots, count, reader, symbols);
  if (reader.lanes == 8) return Rounds<1>(slots, count, reader, symbols);
  return 0;
}

#else

int64_t RoundsTarget(const RansSlots&, int64_t, RansReader&, uint8_t*) { return 0; }

#endif

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {
namespace {

HWY_EXPORT(RoundsTarget);

}  // namespace

int64_t DecodeRansRounds(const RansSlots& slots, int64_t count, RansReader& reader, uint8_t* symbols) {
  return HWY_DYNAMIC_DISPATCH(RoundsTarget)(slots, count, reader, symbols);
}

bool DecodeRansSymbols(const RansSlots& slots, int64_t count, RansReader& reader, uint8_t* symbols) {
  const uint8_t* next = reader.next;
  const auto last_lane = static_cast<int64_t>(reader.lanes) - 1;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t& state = reader.states[static_cast<size_t>(i & last_lane)];
    const uint32_t slot = slots[state & (kRansScale - 1)];
    symbols[i] = RansSlotSymbol(slot);
    uint32_t taken = RansDecodeStep(state, slot);
    if (taken < kRansLow) {
      if (reader.end - next < 2) return false;
      uint16_t word;
      std::memcpy(&word, next, 2);
      next += 2;
      taken = RansRefill(taken, word);
    }
    state = taken;
  }
  reader.next = next;
  return true;
}

}  // namespace decant
#endif
