#ifndef DECANT_COMMON_BASE_CRC32C_H_
#define DECANT_COMMON_BASE_CRC32C_H_

#include <cstddef>
#include <cstdint>

namespace decant {

// CRC-32C (Castagnoli) of `bytes`, continuing from `crc` (0 at the start): Crc32c("123456789") = 0xe3069283.
uint32_t Crc32c(const void* data, size_t bytes, uint32_t crc = 0);

// Copies and checksums in one pass over memory; the same value as Crc32c of the source. The ranges must not overlap.
uint32_t CopyWithCrc32c(void* destination, const void* source, size_t bytes, uint32_t crc = 0);

// The CRC of two runs of bytes, one after the other, from that of each; costs about a microsecond.
uint32_t JoinCrc32c(uint32_t first, uint32_t second, size_t second_bytes);

// memcpy for bytes that another thread or a copy engine reads next: from 16 KiB on they go to memory without displacing
// what the caches hold, and without reading first what they overwrite.
void CopyPastCaches(void* destination, const void* source, size_t bytes);

}  // namespace decant

#endif  // DECANT_COMMON_BASE_CRC32C_H_
