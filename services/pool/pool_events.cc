// Followers: a snapshot of the index and then the journal, which Tell (pool_tiers.cc) writes.
#include <algorithm>
#include <utility>

#include "services/pool/pool.h"

namespace decant {
namespace {

// Records of the index that one page of a snapshot may look at under the pool's mutex; most may be free, or others'.
constexpr size_t kScanned = 1024;

ChunkEvent StoredEvent(const Variant& variant) {
  ChunkEvent event;
  event.kind = ChunkEventKind::kStored;
  event.tier = variant.tier;
  event.tenant = variant.tenant;
  event.first_token = variant.first_token;
  event.tokens = variant.tokens;
  event.key = variant.key;
  event.parent = variant.parent;
  event.variant = VariantDigest(variant.profile, variant.context);
  return event;
}

}  // namespace

absl::StatusOr<EventPage> Pool::Events(EventCursor& cursor, size_t most) const {
  const uint32_t tenant = tier_.tenants().Find(cursor.tenant);
  EventPage page;
  page.snapshot = cursor.snapshot;
  if (!cursor.after.has_value()) cursor.after = journal_.head(tenant);
  if (!cursor.snapshot) {
    absl::StatusOr<std::vector<ChunkEvent>> events = journal_.After(*cursor.after, tenant, most);
    if (!events.ok()) return events.status();
    page.events = *std::move(events);
    if (!page.events.empty()) cursor.after = page.events.back().sequence;
    page.more = *cursor.after < journal_.head(tenant);
    return page;
  }
  for (const Variant& variant : index_.Scan(&cursor.scan, most, kScanned)) {
    if (variant.tenant == tenant) page.events.push_back(StoredEvent(variant));
  }
  page.complete = cursor.scan == 0;
  cursor.snapshot = !page.complete;
  page.more = !page.complete || *cursor.after < journal_.head(tenant);
  return page;
}

}  // namespace decant
