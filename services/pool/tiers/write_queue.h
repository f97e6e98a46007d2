// Records that wait to be written to one tier, bounded in bytes. Not thread-safe.
#ifndef DECANT_SERVICES_POOL_TIERS_WRITE_QUEUE_H_
#define DECANT_SERVICES_POOL_TIERS_WRITE_QUEUE_H_

#include <cstdint>
#include <iterator>
#include <list>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "common/store/record.h"

namespace decant {

// First in, first out; one at a time is being written. What waits, and what is being written until Done, can be found:
// a reader need not miss it.
class WriteQueue {
 public:
  explicit WriteQueue(int64_t most_bytes) : most_bytes_(most_bytes) {}

  // False when there is no room for it; true also when it waits already. `always` ignores the bound.
  bool Push(const RecordId& id, std::shared_ptr<const Record> record, bool always = false) {
    if (records_.contains(id)) return true;
    const int64_t bytes = BytesOf(*record);
    if (!always && bytes_ + bytes > most_bytes_) return false;
    bytes_ += bytes;
    order_.push_back(id);
    records_.emplace(id, Waiting{std::move(record), std::prev(order_.end())});
    return true;
  }

  // The next one, which stays findable until Done. REQUIRES: !idle().
  std::pair<RecordId, std::shared_ptr<const Record>> Pop() {
    writing_ = order_.front();
    order_.pop_front();
    return {*writing_, records_.find(*writing_)->second.record};
  }
  // What was popped is written, or never will be.
  void Done() {
    Forget(*writing_);
    writing_.reset();
  }
  // It waits no more; what is being written stays.
  void Cancel(const RecordId& id) {
    const auto found = records_.find(id);
    if (found == records_.end() || (writing_.has_value() && *writing_ == id)) return;
    order_.erase(found->second.place);
    Forget(id);
  }

  // Nothing when it does not wait.
  std::shared_ptr<const Record> Find(const RecordId& id) const {
    const auto found = records_.find(id);
    return found == records_.end() ? nullptr : found->second.record;
  }

  bool idle() const { return order_.empty(); }        // nothing to Pop
  size_t records() const { return records_.size(); }  // waiting or being written
  int64_t bytes() const { return bytes_; }

 private:
  struct Waiting {
    std::shared_ptr<const Record> record;
    std::list<RecordId>::iterator place;  // in order_; of what is being written, none
  };

  static int64_t BytesOf(const Record& record) {
    int64_t bytes = static_cast<int64_t>(sizeof(Record)) + HostTier::kEntryOverheadBytes;
    for (const LayerBlob& frame : record.frames) bytes += frame.blob.bytes() + HostTier::kBlobOverheadBytes;
    return bytes;
  }

  void Forget(const RecordId& id) {
    const auto found = records_.find(id);
    bytes_ -= BytesOf(*found->second.record);
    records_.erase(found);
  }

  const int64_t most_bytes_;
  int64_t bytes_ = 0;
  std::optional<RecordId> writing_;
  std::list<RecordId> order_;
  absl::flat_hash_map<RecordId, Waiting> records_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIERS_WRITE_QUEUE_H_
