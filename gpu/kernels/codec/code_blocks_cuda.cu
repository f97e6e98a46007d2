// Blocks of code/block.h. A thread block takes one: all its threads count symbols, build tables, gather and put back
// bytes; one warp runs the states, which take turns over the symbols, a lane each. Where the words of a round go, or
// come from, follows from a vote on who is due one. The bytes are those of common/compress/code/rans.cc.
#include "common/compress/code/symbols.h"
#include "gpu/device/cuda_kernel.h"
#include "gpu/kernels/codec/codec_cuda.h"
#include "gpu/kernels/codec/rans_block.cuh"

namespace decant {
namespace {

constexpr int32_t kTileSymbols = 2048;  // a multiple of every number of lanes and of 8
constexpr uint8_t kCoderMask = 0x0f;
constexpr uint8_t kLanesShift = 4;
constexpr uint8_t kSharedFlag = 0x80;

__device__ __forceinline__ int32_t Thread() { return static_cast<int32_t>(threadIdx.x); }

__device__ inline void CopyBytes(const uint8_t* from, uint8_t* to, int64_t bytes) {
  for (int64_t i = Thread(); i < bytes; i += kRansThreads) Store(to + i, Load(from + i));
}

// Moves bytes down; the two places may overlap.
__device__ inline void MoveDown(const uint8_t* from, uint8_t* to, int64_t bytes) {
  for (int64_t first = 0; first < bytes; first += kRansThreads) {
    const int64_t i = first + Thread();
    const uint8_t byte = i < bytes ? Load(from + i) : uint8_t{0};
    __syncthreads();
    if (i < bytes) Store(to + i, byte);
    __syncthreads();
  }
}

struct EncodeTables {
  RansSymbol* symbols;    // shared [kRansAlphabet]
  uint32_t* counts;       // shared [warps, kRansAlphabet]
  uint32_t* frequencies;  // shared [kRansAlphabet]
  double* costs;          // shared [kRansAlphabet]
  uint8_t* table;         // shared [kRansTableRoom]
  int64_t* coded;         // shared: what the states' warp tells the others
};

template <typename Source>
__device__ void CountSymbols(const uint8_t* segment, int64_t symbols, uint32_t* counts) {
  constexpr int32_t kWarps = kRansThreads / kWarpLanes;
  for (int32_t i = Thread(); i < kWarps * kRansAlphabet; i += kRansThreads) counts[i] = 0;
  __syncthreads();
  uint32_t* const own = counts + WarpOf() * kRansAlphabet;
  for (int64_t i = Thread(); i < symbols; i += kRansThreads) atomicAdd(own + Source::At(segment, i), 1u);
  __syncthreads();
  uint32_t sum = 0;
  for (int32_t warp = 0; warp < kWarps; ++warp) sum += counts[warp * kRansAlphabet + Thread()];
  __syncthreads();
  counts[Thread()] = sum;
  __syncthreads();
}

// Bits of the segment, summed in the order of the symbols as RansBits does.
__device__ inline double BitsOf(const EncodeTables& tables) {
  const auto s = static_cast<int32_t>(threadIdx.x);
  const uint32_t count = tables.counts[s];
  tables.costs[s] = count == 0 ? 0.0 : static_cast<double>(count) * RansSymbolBits(tables.frequencies[s]);
  __syncthreads();
  double bits = 0.0;
  for (int32_t i = 0; i < kRansAlphabet; ++i) bits += tables.costs[i];
  __syncthreads();
  return bits;
}

// States and words to the end of `room`; returns how many bytes that is, or -1 when there is no room, with a word to
// spare. One warp.
template <typename Source>
__device__ int64_t EncodeSymbols(const uint8_t* segment, int64_t symbols, const RansSymbol* table, int32_t lanes,
                                 uint8_t* room, int64_t room_bytes) {
  const int32_t lane = LaneOf();
  const int64_t state_bytes = int64_t{lanes} * 4;
  const int64_t rounds = (symbols + lanes - 1) / lanes;
  uint32_t state = kRansLow;
  int64_t at = room_bytes;
  for (int64_t round = rounds - 1; round >= 0; --round) {
    const int64_t i = round * lanes + lane;
    const bool takes_part = lane < lanes && i < symbols;
    const RansSymbol symbol = table[takes_part ? Source::At(segment, i) : 0];
    const bool due = takes_part && state >= symbol.limit;
    const uint32_t dues = __ballot_sync(kAllLanes, due ? 1 : 0);
    // The last symbol goes first: higher lanes have written theirs.
    const int32_t above = __popc(dues & ~((2u << lane) - 1u));
    const bool lacks = takes_part && at - 2 * above < state_bytes + 2;
    if (__any_sync(kAllLanes, lacks ? 1 : 0) != 0) return -1;
    if (due) {
      uint8_t* const word = room + at - 2 * above - 2;
      Store(word, static_cast<uint8_t>(state));
      Store(word + 1, static_cast<uint8_t>(state >> 8));
      state >>= 16;
    }
    at -= 2 * __popc(dues);
    if (takes_part) state = RansEncodeStep(state, symbol);
  }
  at -= state_bytes;
  if (at < 0) return -1;
  if (lane < lanes) {
    for (int32_t byte = 0; byte < 4; ++byte) {
      Store(room + at + 4 * lane + byte, static_cast<uint8_t>(state >> (8 * byte)));
    }
  }
  return room_bytes - at;
}

// The body of a block behind its flag byte; -1 when it would not be shorter than the segment. Returns the lanes too.
template <typename Source>
__device__ int64_t EncodeBody(const uint8_t* segment, int64_t bytes, uint8_t* body, const EncodeTables& tables,
                              int32_t& lanes) {
  const int64_t room = bytes - 1;
  const int64_t symbols = Source::SymbolsOf(bytes);
  const int64_t side = Source::SideOf(symbols);
  if (symbols == 0 || (side > 0 && bytes % 2 != 0)) return -1;
  CountSymbols<Source>(segment, symbols, tables.counts);
  ScaleCounts(tables.counts, static_cast<uint32_t>(symbols), tables.frequencies);
  const int32_t table_bytes = WriteTable(tables.frequencies, tables.table);
  const double coded_bytes = BitsOf(tables) / 8 + static_cast<double>(table_bytes);
  const int64_t front = side + table_bytes;
  if (static_cast<double>(side) + coded_bytes > static_cast<double>(room) || front > room) return -1;
  lanes = RansLanesFor(static_cast<int64_t>(coded_bytes));
  const uint32_t start = StartOfSymbol(tables.frequencies);
  const uint32_t frequency = tables.frequencies[Thread()];
  tables.symbols[Thread()] = frequency == 0 ? RansSymbol() : MakeRansSymbol(start, frequency);
  for (int64_t i = Thread(); i < side; i += kRansThreads) Store(body + i, Source::SideAt(segment, i));
  for (int32_t i = Thread(); i < table_bytes; i += kRansThreads) Store(body + side + i, tables.table[i]);
  __syncthreads();
  if (WarpOf() == 0) {
    const int64_t coded = EncodeSymbols<Source>(segment, symbols, tables.symbols, lanes, body + front, room - front);
    if (LaneOf() == 0) *tables.coded = coded;
  }
  __syncthreads();
  const int64_t coded = *tables.coded;
  __syncthreads();
  if (coded < 0) return -1;
  MoveDown(body + room - coded, body + front, coded);
  return front + coded;
}

__device__ int64_t EncodeBodyBy(Coder coder, const uint8_t* segment, int64_t bytes, uint8_t* body,
                                const EncodeTables& tables, int32_t& lanes) {
  switch (coder) {
    case Coder::kRans8:
      return EncodeBody<PackedSymbols<8>>(segment, bytes, body, tables, lanes);
    case Coder::kRans4:
      return EncodeBody<PackedSymbols<4>>(segment, bytes, body, tables, lanes);
    case Coder::kRans2:
      return EncodeBody<PackedSymbols<2>>(segment, bytes, body, tables, lanes);
    case Coder::kRans1:
      return EncodeBody<PackedSymbols<1>>(segment, bytes, body, tables, lanes);
    case Coder::kBf16Exponent:
      return EncodeBody<HalfSymbols<7>>(segment, bytes, body, tables, lanes);
    case Coder::kFp16High:
      return EncodeBody<HalfSymbols<8>>(segment, bytes, body, tables, lanes);
    default:
      return -1;
  }
}

__global__ void __launch_bounds__(kRansThreads) EncodeBlocksKernel(EncodeBlocksArgs args) {
  __align__(16) __shared__ uint8_t symbols[kRansAlphabet * sizeof(RansSymbol)];
  __shared__ uint32_t counts[kRansThreads / kWarpLanes * kRansAlphabet];
  __shared__ uint32_t frequencies[kRansAlphabet];
  __shared__ double costs[kRansAlphabet];
  __shared__ uint8_t table[kRansTableRoom];
  __shared__ int64_t coded;
  const EncodeTables tables{reinterpret_cast<RansSymbol*>(symbols), counts, frequencies, costs, table, &coded};
  const SegmentBlock run = Load(args.runs + blockIdx.x);
  const uint8_t* const segment = args.segments + run.segment;
  uint8_t* const block = args.blocks + run.block;
  int32_t lanes = 1;
  int64_t body = -1;
  if (run.segment_bytes > 0) body = EncodeBodyBy(run.coder, segment, run.segment_bytes, block + 1, tables, lanes);
  if (body < 0) CopyBytes(segment, block + 1, run.segment_bytes);
  if (threadIdx.x != 0) return;
  const auto logarithm = static_cast<uint32_t>(__ffs(static_cast<uint32_t>(lanes)) - 1);
  const uint32_t flag = body < 0 ? uint32_t{0} : static_cast<uint32_t>(run.coder) | logarithm << kLanesShift;
  Store(block, static_cast<uint8_t>(flag));
  Store(args.block_bytes + blockIdx.x, 1 + (body < 0 ? run.segment_bytes : body));
}

struct DecodeTables {
  uint32_t* slots;        // shared [kRansScale]
  uint32_t* frequencies;  // shared [kRansAlphabet]
  uint32_t* starts;       // shared [kRansAlphabet]
  uint8_t* table;         // shared [kRansTableRoom]
  uint8_t* tile;          // shared [kTileSymbols]
  int32_t* verdict;       // shared: what one thread tells the others
};

__device__ inline void BuildSlots(const DecodeTables& tables) {
  tables.starts[Thread()] = StartOfSymbol(tables.frequencies);
  __syncthreads();
  for (int32_t slot = Thread(); slot < static_cast<int32_t>(kRansScale); slot += kRansThreads) {
    // The last symbol that starts at or before the slot and has a frequency.
    int32_t symbol = 0;
    for (int32_t step = kRansAlphabet / 2; step > 0; step /= 2) {
      if (tables.starts[symbol + step] <= static_cast<uint32_t>(slot)) symbol += step;
    }
    const uint32_t place = static_cast<uint32_t>(slot) - tables.starts[symbol];
    tables.slots[slot] = RansSlot(static_cast<uint32_t>(symbol), tables.frequencies[symbol], place);
  }
  __syncthreads();
}

// Where the states' warp stands.
struct LaneReader {
  const uint8_t* next;
  const uint8_t* end;
  uint32_t state;
  int32_t lanes;
};

// Decodes `count` symbols into shared `tile`; false when the words run out. One warp.
__device__ bool DecodeTile(const uint32_t* slots, int32_t count, LaneReader& reader, uint8_t* tile) {
  const int32_t lane = LaneOf();
  for (int32_t first = 0; first < count; first += reader.lanes) {
    const bool takes_part = lane < reader.lanes && first + lane < count;
    const uint32_t slot = slots[reader.state & (kRansScale - 1)];
    const uint32_t taken = RansDecodeStep(reader.state, slot);
    const bool due = takes_part && taken < kRansLow;
    const uint32_t dues = __ballot_sync(kAllLanes, due ? 1 : 0);
    if (reader.end - reader.next < 2 * __popc(dues)) return false;
    if (takes_part) {
      tile[first + lane] = RansSlotSymbol(slot);
      reader.state = taken;
    }
    if (due) {
      const uint8_t* const word = reader.next + 2 * __popc(dues & ((1u << lane) - 1u));
      reader.state = RansRefill(taken, static_cast<uint16_t>(uint32_t{Load(word)} | uint32_t{Load(word + 1)} << 8));
    }
    reader.next += 2 * __popc(dues);
  }
  return true;
}

// The bytes of a tile of symbols; all threads.
template <int32_t kBits>
__device__ void PutBack(PackedSymbols<kBits>, const uint8_t* tile, const uint8_t*, int64_t first, int32_t count,
                        uint8_t* segment) {
  constexpr int32_t kPerByte = 8 / kBits;
  for (int32_t i = Thread(); i < count / kPerByte; i += kRansThreads) {
    uint32_t byte = 0;
    for (int32_t k = 0; k < kPerByte; ++k) byte |= uint32_t{tile[i * kPerByte + k]} << (k * kBits);
    Store(segment + first / kPerByte + i, static_cast<uint8_t>(byte));
  }
}
template <int32_t kLow>
__device__ void PutBack(HalfSymbols<kLow>, const uint8_t* tile, const uint8_t* side, int64_t first, int32_t count,
                        uint8_t* segment) {
  for (int32_t i = Thread(); i < count; i += kRansThreads) {
    const uint32_t value = HalfSymbols<kLow>::Join(tile[i], Load(side + first + i));
    Store(segment + 2 * (first + i), static_cast<uint8_t>(value));
    Store(segment + 2 * (first + i) + 1, static_cast<uint8_t>(value >> 8));
  }
}

template <typename Source>
__device__ bool DecodeBody(const uint8_t* body, int64_t body_bytes, int32_t lanes, uint8_t* segment, int64_t bytes,
                           const DecodeTables& tables) {
  const int64_t symbols = Source::SymbolsOf(bytes);
  const int64_t side = Source::SideOf(symbols);
  if (bytes % (side > 0 ? 2 : 1) != 0 || body_bytes < side) return false;
  const uint8_t* at = body + side;
  const int64_t rest = body_bytes - side;
  const int32_t room = rest < kRansTableRoom ? static_cast<int32_t>(rest) : kRansTableRoom;
  for (int32_t i = Thread(); i < room; i += kRansThreads) tables.table[i] = Load(at + i);
  __syncthreads();
  if (threadIdx.x == 0) *tables.verdict = ReadTable(tables.table, room, Source::kAlphabet, tables.frequencies);
  __syncthreads();
  const int32_t table_bytes = *tables.verdict;
  __syncthreads();
  if (table_bytes < 0 || rest - table_bytes < int64_t{lanes} * 4) return false;
  BuildSlots(tables);
  at += table_bytes;
  LaneReader reader{at + int64_t{lanes} * 4, body + body_bytes, kRansLow, lanes};
  if (WarpOf() == 0 && LaneOf() < lanes) {
    reader.state = 0;
    for (int32_t byte = 0; byte < 4; ++byte) {
      reader.state |= uint32_t{Load(at + 4 * LaneOf() + byte)} << (8 * byte);
    }
  }
  for (int64_t first = 0; first < symbols; first += kTileSymbols) {
    const int32_t count = symbols - first < kTileSymbols ? static_cast<int32_t>(symbols - first) : kTileSymbols;
    if (WarpOf() == 0) {
      const bool decoded = DecodeTile(tables.slots, count, reader, tables.tile);
      if (LaneOf() == 0) *tables.verdict = decoded ? 1 : 0;
    }
    __syncthreads();
    if (*tables.verdict == 0) return false;
    PutBack(Source(), tables.tile, body, first, count, segment);
    __syncthreads();
  }
  if (WarpOf() == 0) {
    const bool ended = __all_sync(kAllLanes, LaneOf() >= lanes || reader.state == kRansLow ? 1 : 0) != 0;
    if (LaneOf() == 0) *tables.verdict = ended && reader.next == reader.end ? 1 : 0;
  }
  __syncthreads();
  return *tables.verdict != 0;
}

__device__ bool DecodeBodyBy(Coder coder, const uint8_t* body, int64_t body_bytes, int32_t lanes, uint8_t* segment,
                             int64_t bytes, const DecodeTables& tables) {
  switch (coder) {
    case Coder::kRans8:
      return DecodeBody<PackedSymbols<8>>(body, body_bytes, lanes, segment, bytes, tables);
    case Coder::kRans4:
      return DecodeBody<PackedSymbols<4>>(body, body_bytes, lanes, segment, bytes, tables);
    case Coder::kRans2:
      return DecodeBody<PackedSymbols<2>>(body, body_bytes, lanes, segment, bytes, tables);
    case Coder::kRans1:
      return DecodeBody<PackedSymbols<1>>(body, body_bytes, lanes, segment, bytes, tables);
    case Coder::kBf16Exponent:
      return DecodeBody<HalfSymbols<7>>(body, body_bytes, lanes, segment, bytes, tables);
    default:
      return DecodeBody<HalfSymbols<8>>(body, body_bytes, lanes, segment, bytes, tables);
  }
}

__device__ __forceinline__ bool IsRans(uint32_t coder) {
  return coder >= static_cast<uint32_t>(Coder::kRans8) && coder <= static_cast<uint32_t>(Coder::kFp16High);
}

__global__ void __launch_bounds__(kRansThreads) DecodeBlocksKernel(DecodeBlocksArgs args) {
  __shared__ uint32_t slots[kRansScale];
  __shared__ uint32_t frequencies[kRansAlphabet];
  __shared__ uint32_t starts[kRansAlphabet];
  __shared__ uint8_t table[kRansTableRoom];
  __shared__ uint8_t tile[kTileSymbols];
  __shared__ int32_t verdict;
  const DecodeTables tables{slots, frequencies, starts, table, tile, &verdict};
  const SegmentBlock run = Load(args.runs + blockIdx.x);
  const uint8_t* const block = args.blocks + run.block;
  uint8_t* const segment = args.segments + run.segment;
  BlockOutcome outcome = BlockOutcome::kDamaged;
  if (run.block_bytes > 0) {
    const uint32_t flag = Load(block);
    const uint32_t coder = flag & kCoderMask;
    const int32_t logarithm = static_cast<int32_t>((flag & ~uint32_t{kSharedFlag}) >> kLanesShift);
    const bool is_rans = IsRans(coder) && 1 << logarithm <= kMaxRansLanes;
    const int64_t body_bytes = run.block_bytes - 1;
    if (is_rans && (flag & kSharedFlag) != 0) {
      outcome = BlockOutcome::kForTheHost;
    } else if (is_rans) {
      const bool decoded = DecodeBodyBy(static_cast<Coder>(coder), block + 1, body_bytes, 1 << logarithm, segment,
                                        run.segment_bytes, tables);
      if (decoded) outcome = BlockOutcome::kDecoded;
    } else if (flag == static_cast<uint32_t>(Coder::kPositions)) {
      outcome = BlockOutcome::kForTheHost;
    } else if (flag == static_cast<uint32_t>(Coder::kRaw) && body_bytes == run.segment_bytes) {
      CopyBytes(block + 1, segment, run.segment_bytes);
      outcome = BlockOutcome::kDecoded;
    }
  }
  if (threadIdx.x == 0) Store(args.outcomes + blockIdx.x, outcome);
}

}  // namespace

void EncodeBlocksCuda(Stream& stream, const EncodeBlocksArgs& args) {
  DECANT_LAUNCH(EncodeBlocksKernel, dim3(static_cast<unsigned>(args.run_count)), dim3(kRansThreads), 0, stream, args);
}

void DecodeBlocksCuda(Stream& stream, const DecodeBlocksArgs& args) {
  DECANT_LAUNCH(DecodeBlocksKernel, dim3(static_cast<unsigned>(args.run_count)), dim3(kRansThreads), 0, stream, args);
}

}  // namespace decant
