// The ladder in the pool: what is planned under pressure, and what becomes of it. The bytes are re-encoded outside, by
// LadderRunner, while the pool goes on.
#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/compress/token_bytes.h"
#include "services/pool/pool.h"

namespace decant {
namespace {

constexpr double kBelowExact = 1 - 1e-9;

}  // namespace

Ladder& Pool::LadderOf(uint32_t tenant) { return static_cast<Ladder&>(tier_.policy(tenant)); }

// The forms that chunks of this model may take, best first; made when the tenant's first chunk of it is stored.
std::optional<uint32_t> Pool::ScaleOf(uint32_t tenant, const PoolModel& model) {
  const auto [found, is_new] = scales_.try_emplace({tenant, model.fingerprint});
  if (!is_new) return found->second;
  const ProfileTable* table = tables_.For(model.fingerprint);
  std::vector<Rung> forms;
  std::vector<Recipe> recipes;
  double first_bytes = 0;
  for (const std::string& name : limits_.ladder) {
    const absl::StatusOr<Profile> profile = catalogue_.FindFor(name, model.fingerprint);
    if (!profile.ok()) continue;
    absl::StatusOr<Recipe> recipe = Compile(*profile, model.geometry, model.run_type);
    if (!recipe.ok() || !recipe->token_wise()) continue;
    const ProfileCost* cost = table == nullptr ? nullptr : table->Find(name);
    if (!recipe->exact() && cost == nullptr) continue;  // nobody knows what it would cost in answers
    const double bytes = BytesPerTokenOf(*recipe, model.geometry).most;
    if (first_bytes == 0) first_bytes = bytes;
    // However well a lossy form answers, it never stands in for the exact one that a floor of 1 wants.
    const double quality = recipe->exact() ? 1 : std::min(cost->quality, kBelowExact);
    forms.push_back(Rung{recipe->digest, name, quality, bytes / first_bytes});
    recipes.push_back(*std::move(recipe));
  }
  const std::vector<Rung> rungs = RungsOf(std::move(forms));
  if (rungs.empty()) return std::nullopt;
  found->second = LadderOf(tenant).AddScale(rungs);
  std::vector<Recipe>& by_rung = recipes_of_[{tenant, *found->second}];
  for (const Rung& rung : rungs) {
    const auto same = [&](const Recipe& recipe) { return recipe.digest == rung.profile; };
    by_rung.push_back(*std::find_if(recipes.begin(), recipes.end(), same));
  }
  return found->second;
}

// Whoever brings a chunk names its model first: ScaleOf.
void Pool::DescribeToPolicy(const Variant& variant) {
  if (limits_.eviction == PoolEviction::kSteps) {
    static_cast<StepsEviction&>(tier_.policy(variant.tenant))
        .SetSteps(variant.entry, workflows_.StepsOf(variant.tenant, variant.key));
  }
  if (limits_.eviction != PoolEviction::kLadder) return;
  const auto scale = scales_.find({variant.tenant, variant.model});
  if (scale == scales_.end() || !scale->second.has_value()) return;
  Ladder& ladder = LadderOf(variant.tenant);
  const absl::Span<const Rung> rungs = ladder.rungs(*scale->second);
  for (size_t rung = 0; rung < rungs.size(); ++rung) {
    if (rungs[rung].profile != variant.profile) continue;
    ladder.Describe(variant.entry, *scale->second, rung, tier_.ChargeOf(variant.entry));
  }
}

// The step's bytes count as freed from now on.
LadderJob Pool::JobOf(uint32_t tenant, const LadderStep& step) {
  LadderJob job;
  job.tenant = tenant;
  job.entry = step.entry;
  job.from = step.from;
  job.to = step.to;
  job.frees = step.frees;
  job.source = index_.Get(*index_.FindEntry(key_of_.at(step.entry), step.entry)).profile;
  ladder_frees_ += job.frees;
  job.target = recipes_of_.at({tenant, step.scale})[step.to];
  job.quality = LadderOf(tenant).rungs(step.scale)[step.to].quality;
  const absl::Span<const LayerBlob> frames = tier_.Frames(step.entry);
  job.frames.assign(frames.begin(), frames.end());
  return job;
}

std::vector<LadderJob> Pool::PlanLadder(absl::Time now, size_t most) {
  Expire(now);
  std::vector<LadderJob> jobs;
  // Tenants take turns, whoever wished for how much.
  for (auto it = wished_.upper_bound(last_wisher_); !wished_.empty() && jobs.size() < most;) {
    if (it == wished_.end()) it = wished_.begin();
    last_wisher_ = it->first;
    std::deque<LadderJob>& wished = it->second;
    if (!wished.empty()) {
      // One that was dropped meanwhile is known to nobody any more.
      if (key_of_.contains(wished.front().entry) && InHost(wished.front().entry)) {
        jobs.push_back(std::move(wished.front()));
      } else {
        ladder_frees_ -= wished.front().frees;
      }
      wished.pop_front();
    }
    it = wished.empty() ? wished_.erase(it) : std::next(it);
  }
  const auto capacity = static_cast<double>(tier_.capacity_bytes());
  const int64_t bytes = tier_.bytes() - ladder_frees_;
  if (limits_.eviction != PoolEviction::kLadder || static_cast<double>(bytes) <= limits_.ladder_starts * capacity)
    return jobs;
  int64_t wanted = bytes - static_cast<int64_t>(limits_.ladder_ends * capacity);
  std::vector<bool> asked(tier_.tenants().size());
  const auto can_give = [&](uint32_t tenant) { return !asked[tenant] && tier_.tenants().bytes(tenant) > 0; };
  while (wanted > 0 && jobs.size() < most) {
    const uint32_t tenant = tier_.tenants().WhoGives(TenantTable::kDefaultTenant, 0, can_give);
    if (tenant >= asked.size()) break;
    asked[tenant] = true;
    // What is still being published belongs to its publisher.
    const auto complete = [this](uint64_t entry) { return key_of_.contains(entry); };
    for (const LadderStep& step : LadderOf(tenant).Plan(wanted, most - jobs.size(), complete)) {
      wanted -= step.frees;
      if (step.to == LadderStep::kEvict) {
        RemoveEntry(step.entry);
        continue;
      }
      jobs.push_back(JobOf(tenant, step));
    }
  }
  return jobs;
}

void Pool::FinishLadder(absl::Time now, const LadderJob& job, absl::StatusOr<std::vector<LayerBlob>> frames) {
  Expire(now);
  ladder_frees_ -= job.frees;
  Ladder& ladder = LadderOf(job.tenant);
  const auto found = key_of_.find(job.entry);
  // Dropped meanwhile, or in a lower tier now, and forgotten by the ladder with it.
  if (found == key_of_.end() || !InHost(job.entry)) return;
  const Digest key = found->second;
  const Variant former = index_.Get(*index_.FindEntry(key, job.entry));
  // It went down and came up again, was planned once more, and that job was faster.
  if (former.profile != job.source) return;
  if (tier_.IsHeld(job.entry)) {  // a reader came: what is leased is never moved
    ladder.Waits(job.entry);
    return;
  }
  if (HasForm(key, job)) {  // published meanwhile in the form it would take
    RemoveEntry(job.entry);
    return;
  }
  const int64_t before = tier_.ChargeOf(job.entry);
  if (!frames.ok() || !tier_.Replace(job.entry, *std::move(frames)).ok()) {
    ladder.Stays(job.entry);
    ++sums_.ladder_failed;
    return;
  }
  DECANT_CHECK(
      index_.Reencode(key, job.entry, job.target.digest, job.target.profile, job.quality, tier_.FrameBytes(job.entry)));
  const int64_t after = tier_.ChargeOf(job.entry);
  ladder.Moved(job.entry, job.to, after);
  retention_.Resize(job.entry, after);
  ++sums_.reencoded;
  sums_.reencode_freed_bytes += before - after;
  Tell(ChunkEventKind::kMoved, former, VariantDigest(job.target.digest, former.context));
  KeepFormerForm(former);
}

bool Pool::HasForm(const Digest& key, const LadderJob& job) const {
  const Variant variant = index_.Get(*index_.FindEntry(key, job.entry));
  return index_.Find(key, VariantDigest(job.target.digest, variant.context), job.tenant).has_value();
}

}  // namespace decant
