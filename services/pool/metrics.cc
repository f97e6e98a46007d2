#include "services/pool/metrics.h"

#include "common/metrics/names.h"

namespace decant {
namespace {

constexpr char kMovedHelp[] = "chunks that left host memory and are in a lower tier, or came back from one";
constexpr char kHintsHelp[] = "actions that clients asked for, by what became of them";

}  // namespace

PoolMetrics::PoolMetrics(Metrics& metrics)
    : stored_bytes_(metrics.AddGauge(metric::kPoolStoredBytes, "true bytes of stored chunks and their index")),
      capacity_bytes_(metrics.AddGauge(metric::kPoolCapacityBytes, "what stored bytes never exceed")),
      chunks_(metrics.AddGauge(metric::kPoolChunks, "readable chunk variants")),
      chunks_below_(metrics.AddGauge(metric::kPoolChunksBelow, "of these, in lower tiers only")),
      leases_(metrics.AddGauge(metric::kPoolLeases, "leases held")),
      hit_tokens_(metrics.AddCounter(metric::kPoolLookupTokens, "prompt tokens planned", {{"result", "hit"}})),
      miss_tokens_(metrics.AddCounter(metric::kPoolLookupTokens, "prompt tokens planned", {{"result", "miss"}})),
      moved_down_(metrics.AddCounter(metric::kPoolMoved, kMovedHelp, {{"direction", "down"}})),
      moved_up_(metrics.AddCounter(metric::kPoolMoved, kMovedHelp, {{"direction", "up"}})),
      evicted_(metrics.AddCounter(metric::kPoolEvicted, "readable chunks forgotten to make room")),
      stored_(metrics.AddCounter(metric::kPoolPublished, "chunks offered", {{"result", "stored"}})),
      known_(metrics.AddCounter(metric::kPoolPublished, "chunks offered", {{"result", "known"}})),
      refused_(metrics.AddCounter(metric::kPoolPublished, "chunks offered", {{"result", "refused"}})),
      fetched_bytes_(metrics.AddCounter(metric::kPoolFetchedBytes, "bytes of frames sent to fetchers")),
      reencoded_(metrics.AddCounter(metric::kPoolReencoded, "chunks for a cheaper form", {{"result", "done"}})),
      ladder_failed_(metrics.AddCounter(metric::kPoolReencoded, "chunks for a cheaper form", {{"result", "failed"}})),
      reencode_launches_(metrics.AddCounter(metric::kPoolReencodeLaunches, "batches re-encoded on the device")),
      reencode_freed_bytes_(metrics.AddCounter(metric::kPoolReencodeFreed, "bytes freed by cheaper forms")),
      hints_accepted_(metrics.AddCounter(metric::kPoolHints, kHintsHelp, {{"outcome", "accepted"}})),
      hints_executed_(metrics.AddCounter(metric::kPoolHints, kHintsHelp, {{"outcome", "executed"}})),
      hints_refused_(metrics.AddCounter(metric::kPoolHints, kHintsHelp, {{"outcome", "refused"}})) {}

void PoolMetrics::Show(const PoolStats& stats) {
  stored_bytes_.Set(static_cast<double>(stats.stored_bytes));
  capacity_bytes_.Set(static_cast<double>(stats.capacity_bytes));
  chunks_.Set(static_cast<double>(stats.chunks));
  chunks_below_.Set(static_cast<double>(stats.chunks_below));
  leases_.Set(static_cast<double>(stats.leases));
  const auto add = [&](const Counter& counter, int64_t PoolStats::*sum) {
    counter.Increment(static_cast<double>(stats.*sum - shown_.*sum));
  };
  add(hit_tokens_, &PoolStats::lookup_hit_tokens);
  add(miss_tokens_, &PoolStats::lookup_miss_tokens);
  add(moved_down_, &PoolStats::moved_down);
  add(moved_up_, &PoolStats::moved_up);
  add(evicted_, &PoolStats::evicted);
  add(stored_, &PoolStats::chunks_stored);
  add(known_, &PoolStats::chunks_known);
  add(refused_, &PoolStats::chunks_refused);
  add(fetched_bytes_, &PoolStats::fetched_bytes);
  add(reencoded_, &PoolStats::reencoded);
  add(ladder_failed_, &PoolStats::ladder_failed);
  add(reencode_launches_, &PoolStats::reencode_launches);
  add(reencode_freed_bytes_, &PoolStats::reencode_freed_bytes);
  add(hints_accepted_, &PoolStats::hints_accepted);
  add(hints_executed_, &PoolStats::hints_executed);
  add(hints_refused_, &PoolStats::hints_refused);
  shown_ = stats;
}

}  // namespace decant
