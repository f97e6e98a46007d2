#include "services/router/worker_registry.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/policy/placement.h"

namespace decant {
namespace {

std::string Text(const Geometry& g) {
  return absl::StrCat(g.layers, " layers, ", g.q_heads, " query heads, ", g.kv_heads, " kv heads of ", g.head_dim);
}

absl::string_view Text(RunType type) { return type == RunType::kF32 ? "f32" : "bf16"; }

std::string Name(const WorkerFacts& facts) {
  return absl::StrCat(facts.kind == WorkerFacts::Kind::kPrefill ? "prefill" : "decode", " worker ", facts.address);
}

// The slower end's rate; one that is not known does not count.
double SlowerRate(double a, double b) {
  if (a <= 0) return b;
  if (b <= 0) return a;
  return std::min(a, b);
}

}  // namespace

absl::Status WorkerRegistry::Add(absl::Time now, const WorkerFacts& facts) {
  if (facts.fingerprint != model_.fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat(Name(facts), " runs model '", facts.model_name, "' (", facts.fingerprint.Hex().substr(0, 16),
                     ") and this router serves '", model_.name, "' (", model_.fingerprint.Hex().substr(0, 16),
                     "): start both with the same model folder"));
  }
  if (facts.geometry != model_.geometry) {
    return absl::FailedPreconditionError(absl::StrCat(Name(facts), " has ", Text(facts.geometry), " and this router ",
                                                      Text(model_.geometry), ": start both with the same model"));
  }
  for (const auto& [address, other] : workers_) {
    if (address == facts.address) continue;
    if (facts.run_type != other.facts.run_type) {
      return absl::FailedPreconditionError(absl::StrCat(Name(facts), " runs in ", Text(facts.run_type), " and ",
                                                        Name(other.facts), " in ", Text(other.facts.run_type),
                                                        ": start all workers with the same --dtype"));
    }
    if (facts.frame_version != other.facts.frame_version) {
      return absl::FailedPreconditionError(
          absl::StrCat(Name(facts), " writes frames of version ", facts.frame_version, " and ", Name(other.facts),
                       " of version ", other.facts.frame_version, ": run the same release everywhere"));
    }
  }
  const auto known = workers_.find(facts.address);
  if (known == workers_.end() && static_cast<int32_t>(workers_.size()) >= most_workers_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are ", workers_.size(), " workers already, which is the most a router takes"));
  }
  Worker& worker = workers_[facts.address];
  worker.facts = facts;
  worker.heard = now;
  return absl::OkStatus();
}

void WorkerRegistry::ReportLoad(absl::Time now, const std::string& address, const WorkerLoad& load) {
  const auto it = workers_.find(address);
  if (it == workers_.end()) return;
  it->second.load = load;
  it->second.heard = now;
}

bool WorkerRegistry::Remove(const std::string& address) { return workers_.erase(address) > 0; }

std::vector<std::string> WorkerRegistry::SilentSince(absl::Time now) const {
  std::vector<std::string> silent;
  for (const auto& [address, worker] : workers_) {
    if (worker.heard + silence_ <= now) silent.push_back(address);
  }
  return silent;
}

absl::Time WorkerRegistry::NextSilence() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [address, worker] : workers_) next = std::min(next, worker.heard + silence_);
  return next;
}

void WorkerRegistry::PlacePrefill(const std::string& prefill, int32_t tokens) {
  const auto it = workers_.find(prefill);
  if (it == workers_.end()) return;
  ++it->second.prefills;
  it->second.queued_tokens += tokens;
}

// A worker that was lost and came back counts from zero, so what is taken back may be more than what is there.
void WorkerRegistry::TakePrefill(const std::string& prefill, int32_t tokens) {
  const auto it = workers_.find(prefill);
  if (it == workers_.end()) return;
  it->second.prefills = std::max(0, it->second.prefills - 1);
  it->second.queued_tokens = std::max<int64_t>(0, it->second.queued_tokens - tokens);
}

void WorkerRegistry::PlaceSequence(const std::string& decode) {
  if (const auto it = workers_.find(decode); it != workers_.end()) ++it->second.sequences;
}

void WorkerRegistry::TakeSequence(const std::string& decode) {
  const auto it = workers_.find(decode);
  if (it != workers_.end()) it->second.sequences = std::max(0, it->second.sequences - 1);
}

PairCandidate WorkerRegistry::Pair(const Worker& prefill, const Worker& decode, double declared_bits_per_s) const {
  PairCandidate pair;
  pair.prefill = prefill.facts.address;
  pair.decode = decode.facts.address;
  pair.link = BestLink({prefill.facts.host, prefill.facts.links}, {decode.facts.host, decode.facts.links});
  pair.link_bits_per_s = declared_bits_per_s > 0
                             ? declared_bits_per_s
                             : SlowerRate(prefill.facts.link_bits_per_s, decode.facts.link_bits_per_s);
  pair.prefill_load = prefill.load;
  pair.decode_load = decode.load;
  pair.decode_load.running = std::max(decode.load.running, decode.sequences - decode.load.waiting);
  pair.prefill_queued_tokens = prefill.queued_tokens;
  pair.decode_page_bytes = decode.facts.page_bytes;
  return pair;
}

std::vector<PairCandidate> WorkerRegistry::Pairs(const PairNeed& need) const {
  std::vector<PairCandidate> pairs;
  for (const auto& [prefill_address, prefill] : workers_) {
    if (prefill.facts.kind != WorkerFacts::Kind::kPrefill) continue;
    for (const auto& [decode_address, decode] : workers_) {
      if (decode.facts.kind != WorkerFacts::Kind::kDecode) continue;
      pairs.push_back(Pair(prefill, decode, need.declared_link_bits_per_s));
    }
  }
  PlacementNeed placement;
  placement.request_id = need.request_id;
  placement.prompt_tokens = need.prompt_tokens;
  placement.max_tokens = need.max_tokens;
  placement.full_bytes_per_token = model_.geometry.full_bytes_per_token();
  std::vector<PairCandidate> ranked;
  for (const RankedPair& rank : RankPairs(placement, pairs, static_cast<int32_t>(pairs.size()))) {
    ranked.push_back(pairs[static_cast<size_t>(rank.candidate)]);
  }
  return ranked;
}

bool WorkerRegistry::HasPlace(const std::string& prefill) const {
  const auto it = workers_.find(prefill);
  return it != workers_.end() && it->second.prefills < prefills_per_worker_;
}

int32_t WorkerRegistry::prefill_places() const {
  int32_t places = 0;
  for (const auto& [address, worker] : workers_) {
    if (worker.facts.kind == WorkerFacts::Kind::kPrefill && !worker.load.draining) places += prefills_per_worker_;
  }
  return places;
}

int32_t WorkerRegistry::count(WorkerFacts::Kind kind) const {
  int32_t count = 0;
  for (const auto& [address, worker] : workers_) count += worker.facts.kind == kind ? 1 : 0;
  return count;
}

RunType WorkerRegistry::run_type() const {
  return workers_.empty() ? RunType::kF32 : workers_.begin()->second.facts.run_type;
}

}  // namespace decant
