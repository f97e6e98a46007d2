// Every metric name, once. Counters end in _total; times are seconds, sizes bytes. Labels come from closed sets.
#ifndef DECANT_COMMON_METRICS_NAMES_H_
#define DECANT_COMMON_METRICS_NAMES_H_

namespace decant::metric {

// Every process.
inline constexpr char kRpcsHandled[] = "decant_rpcs_handled_total";  // method, code
inline constexpr char kRpcSeconds[] = "decant_rpc_seconds";          // method
inline constexpr char kProcessDraining[] = "decant_process_draining";

// Router.
inline constexpr char kRequestsFinished[] =
    "decant_requests_finished_total";  // outcome: stop, length, cancelled, refused, failed
inline constexpr char kRequestsRunning[] = "decant_requests_running";
inline constexpr char kRequestsReplanned[] = "decant_requests_replanned_total";  // cause: prefill, decode
inline constexpr char kPlansWithoutPool[] = "decant_plans_without_pool_total";   // it is down, late or wrong
inline constexpr char kTtftSeconds[] = "decant_ttft_seconds";
inline constexpr char kTpotSeconds[] = "decant_tpot_seconds";
inline constexpr char kProfileChosen[] = "decant_profile_chosen_total";  // profile
inline constexpr char kWorkersKnown[] = "decant_workers_known";          // kind

// Pool.
inline constexpr char kPoolStoredBytes[] = "decant_pool_stored_bytes";
inline constexpr char kPoolCapacityBytes[] = "decant_pool_capacity_bytes";
inline constexpr char kPoolChunks[] = "decant_pool_chunks";
inline constexpr char kPoolChunksBelow[] = "decant_pool_chunks_below";
inline constexpr char kPoolMoved[] = "decant_pool_chunks_moved_total";          // direction: down, up
inline constexpr char kPoolLookupTokens[] = "decant_pool_lookup_tokens_total";  // result: hit, miss
inline constexpr char kPoolEvicted[] = "decant_pool_chunks_evicted_total";
inline constexpr char kPoolPublished[] = "decant_pool_chunks_published_total";  // result: stored, known, refused
inline constexpr char kPoolFetchedBytes[] = "decant_pool_fetched_bytes_total";
inline constexpr char kPoolHints[] = "decant_pool_hints_total";  // outcome: accepted, executed, refused
inline constexpr char kPoolLeases[] = "decant_pool_leases";
inline constexpr char kPoolLookupChunks[] =
    "decant_pool_lookup_chunks_total";  // tier: device, host, disk, remote, miss; the sum is what was asked for
inline constexpr char kPoolPrefetches[] = "decant_pool_prefetches_total";  // outcome: loaded, missed
inline constexpr char kPoolTierBytes[] = "decant_pool_tier_bytes";         // tier, as in all that follow
inline constexpr char kPoolTierCapacityBytes[] = "decant_pool_tier_capacity_bytes";
inline constexpr char kPoolTierUp[] = "decant_pool_tier_up";
inline constexpr char kPoolTierRecords[] = "decant_pool_tier_records";
inline constexpr char kPoolTierLoadsWaiting[] = "decant_pool_tier_loads_waiting";
inline constexpr char kPoolTierWritesWaiting[] = "decant_pool_tier_writes_waiting";
inline constexpr char kPoolTierEvicted[] = "decant_pool_tier_records_evicted_total";
inline constexpr char kPoolTierReadBytes[] = "decant_pool_tier_read_bytes_total";
inline constexpr char kPoolTierWrittenBytes[] = "decant_pool_tier_written_bytes_total";
inline constexpr char kPoolTierWrites[] = "decant_pool_tier_writes_total";  // outcome: written, failed, dropped
inline constexpr char kPoolTierQuarantined[] = "decant_pool_tier_records_quarantined_total";
inline constexpr char kPoolTierMisses[] = "decant_pool_tier_misses_total";      // reason
inline constexpr char kPoolReencoded[] = "decant_pool_chunks_reencoded_total";  // result: done, failed
inline constexpr char kPoolReencodeLaunches[] = "decant_pool_reencode_launches_total";
inline constexpr char kPoolReencodeFreed[] = "decant_pool_reencode_freed_bytes_total";

// Prefill.
inline constexpr char kPrefillTokensComputed[] = "decant_prefill_tokens_computed_total";
inline constexpr char kPrefillTokensReused[] = "decant_prefill_tokens_reused_total";
inline constexpr char kPrefillComputeSeconds[] = "decant_prefill_compute_seconds_total";
inline constexpr char kEncodeSeconds[] = "decant_encode_seconds_total";
inline constexpr char kEncodedTokens[] = "decant_encoded_tokens_total";          // tier: high, low, pruned
inline constexpr char kChunksRejected[] = "decant_chunks_rejected_total";        // reason
inline constexpr char kPublications[] = "decant_publications_total";             // outcome: ok, failed
inline constexpr char kChunksUnpublished[] = "decant_chunks_unpublished_total";  // reason: room, failed

// Links.
inline constexpr char kLinkBytes[] = "decant_link_bytes_total";            // link, direction
inline constexpr char kTransfersEnded[] = "decant_transfers_ended_total";  // outcome: committed, aborted

// Decode.
inline constexpr char kDecodeTokens[] = "decant_decode_tokens_total";
inline constexpr char kDecodeSteps[] = "decant_decode_steps_total";
inline constexpr char kDecodeRunning[] = "decant_decode_sequences_running";
inline constexpr char kDecodeWaiting[] = "decant_decode_reservations_waiting";
inline constexpr char kPagesTotal[] = "decant_pages_total";
inline constexpr char kPagesFree[] = "decant_pages_free";
inline constexpr char kPagesReserved[] = "decant_pages_reserved";
inline constexpr char kTokensDemoted[] = "decant_tokens_demoted_total";
inline constexpr char kTokensDropped[] = "decant_tokens_dropped_total";

}  // namespace decant::metric

#endif  // DECANT_COMMON_METRICS_NAMES_H_
