// What the policies expect before anything was measured. Rough on purpose: reports and the workers' own words replace
// them.
#ifndef DECANT_COMMON_POLICY_PRIORS_H_
#define DECANT_COMMON_POLICY_PRIORS_H_

namespace decant {

inline constexpr double kPriorPrefillTokensPerS = 1000;
inline constexpr double kPriorEncodeBytesPerS = 1e9;  // of full-precision bytes
inline constexpr double kImportBytesPerS = 4e9;       // decode copies frames into pages
inline constexpr double kLinkFixedMs = 0.2;           // of one batch, whatever its size

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_PRIORS_H_
