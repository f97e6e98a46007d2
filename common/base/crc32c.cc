// The SSE4.2 crc32 instruction has a latency of three cycles and a throughput of one, so three independent streams keep
// it busy; their values are joined by advancing the first two over the bytes that follow them, which is a
// multiplication in GF(2) held as four 256-entry tables per distance.
#include "common/base/crc32c.h"

#include <algorithm>
#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace decant {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78u;  // Castagnoli, reflected
constexpr size_t kStream = 1024;               // bytes of each of the three streams of a round
constexpr size_t kRound = 3 * kStream;         // fits the first-level cache

constexpr size_t kLine = 64;              // of the caches
constexpr size_t kAhead = 8 * kLine;      // bytes asked for before they are needed
constexpr size_t kPastCaches = 16 << 10;  // shorter copies go through the caches

using ByteTable = std::array<uint32_t, 256>;

constexpr ByteTable MakeByteTable() {
  ByteTable table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) ? kPolynomial : 0u);
    table[i] = crc;
  }
  return table;
}

constexpr ByteTable kByteTable = MakeByteTable();

uint32_t UpdateByTable(uint32_t crc, const uint8_t* data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) crc = kByteTable[(crc ^ data[i]) & 0xffu] ^ (crc >> 8);
  return crc;
}

#if defined(__x86_64__)

// Advances a value over kStream zero bytes; linear in the value, so one table per byte of it suffices.
struct Advance {
  std::array<ByteTable, 4> table;

  Advance() {
    std::array<uint32_t, 32> image{};
    const std::array<uint8_t, kStream> zeros{};
    for (uint32_t bit = 0; bit < 32; ++bit) image[bit] = UpdateByTable(1u << bit, zeros.data(), zeros.size());
    for (uint32_t byte = 0; byte < 4; ++byte) {
      for (uint32_t value = 0; value < 256; ++value) {
        uint32_t sum = 0;
        for (uint32_t bit = 0; bit < 8; ++bit) sum ^= (value >> bit & 1u) ? image[8 * byte + bit] : 0u;
        table[byte][value] = sum;
      }
    }
  }
  uint32_t operator()(uint32_t crc) const {
    return table[0][crc & 0xffu] ^ table[1][crc >> 8 & 0xffu] ^ table[2][crc >> 16 & 0xffu] ^ table[3][crc >> 24];
  }
};

uint64_t Load64(const uint8_t* p) {
  uint64_t value;
  std::memcpy(&value, p, 8);
  return value;
}

// Each round asks for the lines of the next one, which the three streams' short runs hide from the hardware prefetcher;
// asking beyond the end is harmless.
__attribute__((target("sse4.2"))) uint32_t UpdateBySse42(uint32_t crc, const uint8_t* data, size_t bytes) {
  static const Advance advance;
  uint64_t a = crc;
  while (bytes >= kRound) {
    uint64_t b = 0;
    uint64_t c = 0;
    for (size_t line = 0; line < kStream; line += 64) {
      for (size_t stream = 0; stream < 3; ++stream) {
        _mm_prefetch(reinterpret_cast<const char*>(data) + kRound + 3 * line + 64 * stream, _MM_HINT_T0);
      }
      for (size_t i = line; i < line + 64; i += 8) {
        a = _mm_crc32_u64(a, Load64(data + i));
        b = _mm_crc32_u64(b, Load64(data + kStream + i));
        c = _mm_crc32_u64(c, Load64(data + 2 * kStream + i));
      }
    }
    a = advance(advance(static_cast<uint32_t>(a)) ^ static_cast<uint32_t>(b)) ^ c;
    data += kRound;
    bytes -= kRound;
  }
  for (; bytes >= 8; bytes -= 8, data += 8) a = _mm_crc32_u64(a, Load64(data));
  auto tail = static_cast<uint32_t>(a);
  for (size_t i = 0; i < bytes; ++i) tail = _mm_crc32_u8(tail, data[i]);
  return tail;
}

// Bytes until `p` is at the start of a cache line.
size_t ToLine(const uint8_t* p) { return (kLine - reinterpret_cast<uintptr_t>(p) % kLine) % kLine; }

void StreamLine(uint8_t* to, const uint8_t* from) {
  for (size_t i = 0; i < kLine; i += 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
  }
}

void StreamCopy(uint8_t* to, const uint8_t* from, size_t bytes) {
  const size_t head = std::min(bytes, ToLine(to));
  std::memcpy(to, from, head);
  size_t i = head;
  for (; i + kLine <= bytes; i += kLine) {
    _mm_prefetch(reinterpret_cast<const char*>(from) + i + kAhead, _MM_HINT_T0);
    StreamLine(to + i, from + i);
  }
  std::memcpy(to + i, from + i, bytes - i);
  _mm_sfence();  // what follows may hand the bytes to another thread
}

__attribute__((target("sse4.2"))) uint32_t CopyWithCrcBySse42(uint32_t crc, uint8_t* to, const uint8_t* from,
                                                              size_t bytes) {
  static const Advance advance;
  if (bytes >= kPastCaches) {
    const size_t head = ToLine(to);
    std::memcpy(to, from, head);
    crc = UpdateBySse42(crc, from, head);
    to += head;
    from += head;
    bytes -= head;
    while (bytes >= kRound) {
      uint64_t a = crc;
      uint64_t b = 0;
      uint64_t c = 0;
      for (size_t line = 0; line < kStream; line += kLine) {
        for (size_t stream = 0; stream < 3; ++stream) {
          _mm_prefetch(reinterpret_cast<const char*>(from) + kRound + 3 * line + kLine * stream, _MM_HINT_T0);
          StreamLine(to + stream * kStream + line, from + stream * kStream + line);
        }
        for (size_t i = line; i < line + kLine; i += 8) {
          a = _mm_crc32_u64(a, Load64(from + i));
          b = _mm_crc32_u64(b, Load64(from + kStream + i));
          c = _mm_crc32_u64(c, Load64(from + 2 * kStream + i));
        }
      }
      crc = static_cast<uint32_t>(advance(advance(static_cast<uint32_t>(a)) ^ static_cast<uint32_t>(b)) ^ c);
      to += kRound;
      from += kRound;
      bytes -= kRound;
    }
    _mm_sfence();
  }
  std::memcpy(to, from, bytes);
  return UpdateBySse42(crc, from, bytes);
}

bool HasSse42() {
  static const bool has = __builtin_cpu_supports("sse4.2") != 0;
  return has;
}

#endif

}  // namespace

uint32_t Crc32c(const void* data, size_t bytes, uint32_t crc) {
  const auto* p = static_cast<const uint8_t*>(data);
#if defined(__x86_64__)
  if (HasSse42()) return ~UpdateBySse42(~crc, p, bytes);
#endif
  return ~UpdateByTable(~crc, p, bytes);
}

// Zero bytes act on a CRC as a linear map over GF(2), and those of 2^k bytes are the squares of one another.
uint32_t JoinCrc32c(uint32_t first, uint32_t second, size_t second_bytes) {
  using Map = std::array<uint32_t, 32>;  // images of the 32 bits
  static const std::array<Map, 64> powers = [] {
    const auto apply = [](const Map& map, uint32_t value) {
      uint32_t image = 0;
      for (uint32_t bit = 0; value != 0; ++bit, value >>= 1) image ^= (value & 1u) ? map[bit] : 0u;
      return image;
    };
    std::array<Map, 64> maps{};
    const uint8_t zero = 0;
    for (uint32_t bit = 0; bit < 32; ++bit) maps[0][bit] = UpdateByTable(1u << bit, &zero, 1);
    for (size_t power = 1; power < maps.size(); ++power) {
      for (uint32_t bit = 0; bit < 32; ++bit) maps[power][bit] = apply(maps[power - 1], maps[power - 1][bit]);
    }
    return maps;
  }();
  for (size_t power = 0; second_bytes != 0; ++power, second_bytes >>= 1) {
    if ((second_bytes & 1u) == 0) continue;
    uint32_t image = 0;
    for (uint32_t bit = 0; bit < 32; ++bit) image ^= (first >> bit & 1u) ? powers[power][bit] : 0u;
    first = image;
  }
  return first ^ second;
}

uint32_t CopyWithCrc32c(void* destination, const void* source, size_t bytes, uint32_t crc) {
  if (bytes == 0) return crc;  // the addresses may be null
  auto* to = static_cast<uint8_t*>(destination);
  const auto* from = static_cast<const uint8_t*>(source);
#if defined(__x86_64__)
  if (HasSse42()) return ~CopyWithCrcBySse42(~crc, to, from, bytes);
#endif
  std::memcpy(to, from, bytes);
  return Crc32c(from, bytes, crc);
}

void CopyPastCaches(void* destination, const void* source, size_t bytes) {
  if (bytes == 0) return;
  auto* to = static_cast<uint8_t*>(destination);
  const auto* from = static_cast<const uint8_t*>(source);
#if defined(__x86_64__)
  if (bytes >= kPastCaches) return StreamCopy(to, from, bytes);
#endif
  std::memcpy(to, from, bytes);
}

}  // namespace decant
