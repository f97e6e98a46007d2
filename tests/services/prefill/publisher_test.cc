#include "services/prefill/publisher.h"

#include <gtest/gtest.h>

#include <vector>

#include "absl/synchronization/notification.h"

namespace decant {
namespace {

class GatedSink final : public ChunkSink {
 public:
  absl::StatusOr<PublishCounts> Publish(const Publication& publication, absl::Time /*deadline*/) override {
    open.WaitForNotification();
    absl::MutexLock lock(&mutex);
    published.push_back(publication.profile);
    return absl::UnavailableError("the pool is down");  // changes nothing
  }
  absl::Notification open;
  absl::Mutex mutex;
  std::vector<std::string> published;
};

Publication Of(const std::string& profile, int64_t bytes) {
  Publication publication;
  publication.profile = profile;
  publication.bytes = bytes;
  return publication;
}

TEST(PublisherTest, PublishesInOrderAndDropsWhatHasNoRoom) {
  GatedSink sink;
  Publisher publisher(sink, 100, absl::Seconds(1));
  EXPECT_TRUE(publisher.Add(Of("a", 60)));
  EXPECT_FALSE(publisher.Add(Of("b", 60)));
  EXPECT_EQ(publisher.room_bytes(), 40);
  EXPECT_TRUE(publisher.Add(Of("c", 40)));
  sink.open.Notify();
  publisher.Flush(absl::InfiniteFuture());
  EXPECT_EQ(sink.published, (std::vector<std::string>{"a", "c"}));
  EXPECT_EQ(publisher.room_bytes(), 100);
}

}  // namespace
}  // namespace decant
