#include "services/prefill/metrics.h"

#include "common/kv/reject_reason.h"
#include "common/metrics/names.h"

namespace decant {

PrefillMetrics PrefillMetrics::In(Metrics& metrics, absl::string_view link) {
  constexpr char kEncodedHelp[] = "Tokens encoded, summed over layers and heads, by tier.";
  constexpr char kEndedHelp[] = "Transfers by their end state.";
  PrefillMetrics m;
  m.tokens_computed = metrics.AddCounter(metric::kPrefillTokensComputed, "Prompt tokens computed.");
  m.tokens_reused = metrics.AddCounter(metric::kPrefillTokensReused, "Prompt tokens served from stored chunks.");
  m.compute_seconds = metrics.AddCounter(metric::kPrefillComputeSeconds, "Time spent computing layers.");
  m.encode_seconds = metrics.AddCounter(metric::kEncodeSeconds, "Time spent encoding layers into frames.");
  m.encoded_high = metrics.AddCounter(metric::kEncodedTokens, kEncodedHelp, {{"tier", "high"}});
  m.encoded_low = metrics.AddCounter(metric::kEncodedTokens, kEncodedHelp, {{"tier", "low"}});
  m.encoded_pruned = metrics.AddCounter(metric::kEncodedTokens, kEncodedHelp, {{"tier", "pruned"}});
  constexpr char kPublicationsHelp[] = "Publications to the pool by how they ended.";
  m.published = metrics.AddCounter(metric::kPublications, kPublicationsHelp, {{"outcome", "ok"}});
  m.publish_failed = metrics.AddCounter(metric::kPublications, kPublicationsHelp, {{"outcome", "failed"}});
  constexpr char kUnpublishedHelp[] = "Chunks worth publishing that the pool did not get, by why.";
  m.unpublished_room = metrics.AddCounter(metric::kChunksUnpublished, kUnpublishedHelp, {{"reason", "room"}});
  m.unpublished_failed = metrics.AddCounter(metric::kChunksUnpublished, kUnpublishedHelp, {{"reason", "failed"}});
  for (const absl::string_view reason : kRejectReasons) {
    m.chunks_rejected[std::string(reason)] = metrics.AddCounter(
        metric::kChunksRejected, "Planned chunks that were not used.", {{"reason", std::string(reason)}});
  }
  m.link = LinkKindOf(link);
  m.sent_bytes = LinkBytes(metrics, "out");
  m.committed = metrics.AddCounter(metric::kTransfersEnded, kEndedHelp, {{"outcome", "committed"}});
  m.aborted = metrics.AddCounter(metric::kTransfersEnded, kEndedHelp, {{"outcome", "aborted"}});
  return m;
}

}  // namespace decant
