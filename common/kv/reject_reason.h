// Why stored or sent KV was not taken, as one word of a closed set, for metrics. It travels with the status whose
// message says the same to people.
#ifndef DECANT_COMMON_KV_REJECT_REASON_H_
#define DECANT_COMMON_KV_REJECT_REASON_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace decant {

inline constexpr absl::string_view kRejectReasons[] = {
    "checksum",     // the bytes are not those that were sealed
    "version",      // of another release
    "truncated",    // ends early, or sizes that contradict each other
    "malformed",    // fields that cannot be
    "fingerprint",  // of another model
    "shape",        // other heads, layers, key state
    "order",        // other positions than asked for
    "provenance",   // tainted
    "format",       // another one than planned
    "unasked",      // of a chunk or layer that nobody asked for
    "missing",      // did not come
    "late",         // not in time
    "plan",         // the plan itself cannot be used
    "pool",         // the pool failed or refused
    "other",
};

// `status` with the reason; OK stays OK. `reason` is one of kRejectReasons.
absl::Status WithRejectReason(absl::Status status, absl::string_view reason);
// One of kRejectReasons: "other" when `status` carries none.
absl::string_view RejectReasonOf(const absl::Status& status);

}  // namespace decant

#endif  // DECANT_COMMON_KV_REJECT_REASON_H_
