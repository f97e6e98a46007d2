#include "services/prefill/publisher.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"

namespace decant {
namespace {

// Publishes when told to, and always in vain.
class GatedSink final : public ChunkSink {
 public:
  absl::StatusOr<PublishCounts> Publish(const Publication& publication, absl::Time at_most) override {
    absl::MutexLock lock(&mutex);
    started = true;
    deadline = at_most;
    const auto over = [this] { return open || cancelled; };
    mutex.Await(absl::Condition(&over));
    if (cancelled) return absl::CancelledError("stopped");
    published.push_back(publication.profile);
    return absl::UnavailableError("the pool is down");  // changes nothing
  }
  void Cancel() override {
    absl::MutexLock lock(&mutex);
    cancelled = true;
  }
  absl::Mutex mutex;
  bool open = false;
  bool started = false;
  bool cancelled = false;
  absl::Time deadline;
  std::vector<std::string> published;
};

Publication Of(const std::string& profile, int64_t bytes) {
  Publication publication;
  publication.profile = profile;
  publication.bytes = bytes;
  return publication;
}

PublisherOptions Limits() {
  PublisherOptions options;
  options.limit_bytes = 100;
  options.publish_limit = absl::Seconds(1);
  options.now = [] { return absl::UnixEpoch(); };
  return options;
}

TEST(PublisherTest, PublishesInOrderAndDropsWhatHasNoRoom) {
  GatedSink sink;
  std::vector<std::string> tried;
  PublisherOptions options = Limits();
  options.tried = [&](const Publication& publication, const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    tried.push_back(publication.profile);
  };
  Publisher publisher(sink, options);
  EXPECT_TRUE(publisher.Add(Of("a", 60)));
  EXPECT_FALSE(publisher.Add(Of("b", 60)));
  EXPECT_EQ(publisher.room_bytes(), 40);
  EXPECT_TRUE(publisher.Add(Of("c", 40)));
  {
    absl::MutexLock lock(&sink.mutex);
    sink.open = true;
  }
  publisher.Flush(absl::InfiniteFuture());
  EXPECT_EQ(sink.published, (std::vector<std::string>{"a", "c"}));
  EXPECT_EQ(tried, sink.published);
  EXPECT_EQ(sink.deadline, absl::UnixEpoch() + absl::Seconds(1));
  EXPECT_EQ(publisher.room_bytes(), 100);
}

TEST(PublisherTest, IsNotHeldUpByAPoolThatHangs) {
  GatedSink sink;  // never opened
  auto publisher = std::make_unique<Publisher>(sink, Limits());
  EXPECT_TRUE(publisher->Add(Of("a", 60)));
  {
    absl::MutexLock lock(&sink.mutex);
    sink.mutex.Await(absl::Condition(&sink.started));
  }
  publisher.reset();  // returns
  EXPECT_TRUE(sink.published.empty());
}

}  // namespace
}  // namespace decant
