#ifndef DECANT_SERVICES_PREFILL_METRICS_H_
#define DECANT_SERVICES_PREFILL_METRICS_H_

#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "common/base/link_kind.h"
#include "services/rpc/link_bytes.h"
#include "services/rpc/metrics.h"

namespace decant {

// What a prefill worker counts; a default one counts nothing.
struct PrefillMetrics {
  // `link` names the kind of link that frames leave by.
  static PrefillMetrics In(Metrics& metrics, absl::string_view link);

  Counter tokens_computed;
  Counter tokens_reused;
  Counter compute_seconds;
  Counter encode_seconds;
  Counter encoded_high;
  Counter encoded_low;
  Counter encoded_pruned;
  Counter published;
  Counter publish_failed;
  Counter unpublished_room;
  Counter unpublished_failed;
  std::map<std::string, Counter> chunks_rejected;  // by reason: kRejectReasons
  LinkKind link = LinkKind::kUnspecified;          // what is not carried
  LinkBytes sent_bytes;
  Counter committed;
  Counter aborted;
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_METRICS_H_
