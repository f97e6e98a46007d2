// What the policies expect before anything was measured. Rough on purpose: reports and the workers' own words replace
// them.
#ifndef DECANT_COMMON_POLICY_PRIORS_H_
#define DECANT_COMMON_POLICY_PRIORS_H_

namespace decant {

inline constexpr double kPriorPrefillTokensPerS = 1000;
inline constexpr double kPriorEncodeBytesPerS = 1e9;  // of full-precision bytes
inline constexpr double kImportBytesPerS = 4e9;       // decode copies frames into pages
inline constexpr double kExpandBytesPerS = 1.5e9;     // of full-precision bytes that a stored prefix becomes in prefill
inline constexpr double kSettleBytesPerS = 5e8;  // of full-precision bytes of a prefix that decode sorts into tiers
inline constexpr double kContextPerWidth = 3;    // tokens of context that double a token's time, per q_heads x head_dim
inline constexpr double kLinkFixedMs = 0.2;      // of one batch, whatever its size

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_PRIORS_H_
