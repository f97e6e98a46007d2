// Replays a trace of prompts through the real index, host tier and ladder: what would a pool of so many bytes have hit?
//
// A block of the trace is a chunk of 512 tokens, stored as one real frame per layer; its charge is what the host tier
// charges, index included. A request asks for the longest prefix that its floor accepts, then uses what is stored of
// its blocks and publishes what is missing. A hit is a block of that prefix.
#ifndef DECANT_LOAD_TESTS_TRAFFIC_POOL_REPLAY_H_
#define DECANT_LOAD_TESTS_TRAFFIC_POOL_REPLAY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/compress/profile.h"
#include "common/index/chunk_index.h"
#include "common/store/host_tier.h"
#include "common/store/ladder.h"
#include "tests/support/mooncake_trace.h"

namespace decant {

// A form in which blocks are stored: the frames of any block, whose bytes all blocks share.
struct StoredForm {
  Digest profile;
  std::string name;
  double quality = 0;
  std::vector<LayerBlob> frames;
  int64_t charge = 0;  // of an entry of the host tier
};

// How SmolLM2-135M's geometry stores a block under a profile of the catalogue.
StoredForm FormOf(const Catalogue& catalogue, const std::string& profile, double quality);

struct ReplayOptions {
  int64_t capacity_bytes = 0;
  std::vector<StoredForm> forms;  // blocks are published in the first; a ladder re-encodes down the others
  enum class Policy { kLru, kS3Fifo, kLadder } policy = Policy::kLru;
  // Every block an operation of its own, head first, as the published oracle has it; else one a request, whose deepest
  // blocks go first.
  bool block_by_block = false;
  std::function<double(const TraceRequest&)> floor;  // null: 0
};

struct ReplayResult {
  int64_t hits = 0;
  int64_t references = 0;
  int64_t reencoded = 0;
  int64_t evicted = 0;
  int64_t peak_bytes = 0;
  double percent() const { return 100.0 * static_cast<double>(hits) / static_cast<double>(references); }
};

ReplayResult Replay(const MooncakeTrace& trace, const ReplayOptions& options);

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_TRAFFIC_POOL_REPLAY_H_
