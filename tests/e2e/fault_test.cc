// What a request gets when processes die, stop, or have no room.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/metrics/names.h"
#include "decant/v1/generation.grpc.pb.h"
#include "services/rpc/channel.h"
#include "services/rpc/status_edge.h"
#include "tests/e2e/cluster.h"

namespace decant {
namespace {

using ::testing::ElementsAreArray;

// Ends the test program when the processes do not come up: nothing after it could mean anything.
std::unique_ptr<Cluster> Start(const ClusterOptions& options) {
  auto cluster = Cluster::Start(options);
  DECANT_CHECK_MSG(cluster.ok(), "%s", cluster.status().ToString().c_str());
  return *std::move(cluster);
}

double ReservedPages(const Service& decode) { return MetricSum(decode.metrics, metric::kPagesReserved); }

// A request on its own thread, watched from outside.
class Running {
 public:
  Running(Cluster& cluster, const v1::GenerateRequest& request)
      : thread_([this, &cluster, request] {
          result_.emplace(cluster.Generate(request, [this](absl::string_view) { ++pieces_; }));
        }) {}
  ~Running() {
    if (thread_.joinable()) thread_.join();
  }
  void WaitPieces(int pieces) {
    EXPECT_TRUE(WaitUntil([&] { return pieces_ >= pieces; }).ok());
  }
  absl::StatusOr<Generated> Finish() {
    thread_.join();
    return *std::move(result_);
  }

 private:
  std::atomic<int> pieces_{0};
  std::optional<absl::StatusOr<Generated>> result_;
  std::thread thread_;
};

// Long enough to be interrupted; in full precision, where a resumed answer is the same to the last token.
v1::GenerateRequest LongAnswer() {
  v1::GenerateRequest request = Request(Document(5, 200), "full", 1500);
  request.set_no_publish(true);
  return request;
}

TEST(FaultTest, WithoutAPoolEverythingIsRecomputed) {
  const auto cluster = Start({});
  const auto before = cluster->Generate(Request(Document(1, 300), "k8v4", 8));
  ASSERT_TRUE(before.ok()) << before.status();
  cluster->pool.process->Signal(SIGKILL);
  ASSERT_TRUE(cluster->pool.process->WaitExit(absl::Now() + kPatience).ok());
  const auto after = cluster->Generate(Request(Document(1, 300), "k8v4", 8));
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->finished.prefix_tokens_reused(), 0);
  EXPECT_THAT(after->tokens, ElementsAreArray(before->tokens));
}

TEST(FaultTest, ADecodeWorkerThatDiesIsReplacedWithoutLosingAToken) {
  ClusterOptions options;
  options.decodes = 2;
  const auto cluster = Start(options);
  const auto undisturbed = cluster->Generate(LongAnswer());
  ASSERT_TRUE(undisturbed.ok()) << undisturbed.status();
  Running running(*cluster, LongAnswer());
  running.WaitPieces(5);
  const size_t busy = MetricSum(cluster->decodes[0].metrics, metric::kDecodeRunning) > 0 ? 0 : 1;
  ASSERT_GT(MetricSum(cluster->decodes[busy].metrics, metric::kDecodeRunning), 0);
  cluster->decodes[busy].process->Signal(SIGKILL);
  const auto resumed = running.Finish();
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_THAT(resumed->tokens, ElementsAreArray(undisturbed->tokens));
  EXPECT_EQ(resumed->text, undisturbed->text);
  EXPECT_TRUE(WaitUntil([&] { return ReservedPages(cluster->decodes[1 - busy]) == 0; }).ok());
}

TEST(FaultTest, ALoneDecodeWorkerThatDiesGivesUnavailableAndLeaksNothing) {
  const auto cluster = Start({});
  Running running(*cluster, LongAnswer());
  running.WaitPieces(3);
  cluster->decodes[0].process->Signal(SIGKILL);
  const auto failed = running.Finish();
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kUnavailable) << failed.status();
  EXPECT_TRUE(WaitUntil([&] { return MetricSum(cluster->router.metrics, metric::kRequestsRunning) == 0; }).ok());
  EXPECT_TRUE(WaitUntil([&] { return MetricSum(cluster->pool.metrics, metric::kPoolLeases) == 0; }).ok());
  // The others serve on with a new worker.
  ASSERT_TRUE(cluster->AddDecode().ok());
  ASSERT_TRUE(cluster->WaitWorkers(1, 1).ok());
  EXPECT_TRUE(cluster->Generate(Request(Document(2, 100), "k8v4", 4)).ok());
}

TEST(FaultTest, APrefillWorkerThatDiesMidTransferIsReplaced) {
  ClusterOptions options;
  options.prefills = 2;
  options.decode_flags = {"--open-limit", "2"};
  const auto cluster = Start(options);
  v1::GenerateRequest request = Request(Document(3, 2400), "k8v4", 8);
  request.set_no_publish(true);
  const auto undisturbed = cluster->Generate(request);
  ASSERT_TRUE(undisturbed.ok()) << undisturbed.status();
  const double before = MetricSum(cluster->decodes[0].metrics, metric::kLinkBytes);
  request.set_request_id("victim");
  Running running(*cluster, request);
  // Its transfer is under way once decode has received more than the first request brought.
  ASSERT_TRUE(WaitUntil([&] { return MetricSum(cluster->decodes[0].metrics, metric::kLinkBytes) > before; }).ok());
  const auto why = ExplainOnce(cluster->router.address, "victim");
  ASSERT_TRUE(why.ok()) << why.status();
  for (Service& prefill : cluster->prefills) {
    if (prefill.address == why->prefill_worker()) prefill.process->Signal(SIGKILL);
  }
  const auto replaced = running.Finish();
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  EXPECT_THAT(replaced->tokens, ElementsAreArray(undisturbed->tokens));
  EXPECT_TRUE(WaitUntil([&] { return ReservedPages(cluster->decodes[0]) == 0; }).ok());
}

// A prompt that takes a while, kept out of the pool.
v1::GenerateRequest LongPrompt() {
  v1::GenerateRequest request = Request(Document(3, 2400), "k8v4", 8);
  request.set_no_publish(true);
  return request;
}

double LinkBytes(const Service& decode) { return MetricSum(decode.metrics, metric::kLinkBytes); }

TEST(FaultTest, APrefillWorkerThatHangsMidTransferIsReplaced) {
  ClusterOptions options;
  options.prefills = 2;
  const auto cluster = Start(options);
  v1::GenerateRequest request = LongPrompt();
  const auto undisturbed = cluster->Generate(request);
  ASSERT_TRUE(undisturbed.ok()) << undisturbed.status();
  const double before = LinkBytes(cluster->decodes[0]);
  request.set_request_id("victim");
  Running running(*cluster, request);
  ASSERT_TRUE(WaitUntil([&] { return LinkBytes(cluster->decodes[0]) > before; }).ok());
  const auto why = ExplainOnce(cluster->router.address, "victim");
  ASSERT_TRUE(why.ok()) << why.status();
  for (Service& prefill : cluster->prefills) {
    if (prefill.address == why->prefill_worker()) prefill.process->Signal(SIGSTOP);
  }
  const auto replaced = running.Finish();
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  EXPECT_THAT(replaced->tokens, ElementsAreArray(undisturbed->tokens));
  EXPECT_TRUE(WaitUntil([&] { return ReservedPages(cluster->decodes[0]) == 0; }).ok());
}

TEST(FaultTest, ALonePrefillWorkerThatHangsGivesUnavailable) {
  const auto cluster = Start({});
  Running running(*cluster, LongPrompt());
  ASSERT_TRUE(WaitUntil([&] { return LinkBytes(cluster->decodes[0]) > 0; }).ok());
  cluster->prefills[0].process->Signal(SIGSTOP);
  const auto failed = running.Finish();
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kUnavailable) << failed.status();
  EXPECT_TRUE(WaitUntil([&] { return ReservedPages(cluster->decodes[0]) == 0; }).ok());
}

TEST(FaultTest, PagesOfATransferThatNobodyGivesUpAreFreeAtItsDeadline) {
  const auto cluster = Start({});
  Channels channels;
  const auto stub = v1::Generation::NewStub(channels.Get(cluster->router.address));
  grpc::ClientContext context;
  const auto stream = stub->Generate(&context, LongPrompt());
  ASSERT_TRUE(WaitUntil([&] { return LinkBytes(cluster->decodes[0]) > 0; }).ok());
  // Nobody is left who could release the ticket, and every connection stays open.
  cluster->router.process->Signal(SIGSTOP);
  cluster->prefills[0].process->Signal(SIGSTOP);
  EXPECT_GT(ReservedPages(cluster->decodes[0]), 0);
  EXPECT_TRUE(WaitUntil([&] { return ReservedPages(cluster->decodes[0]) == 0; }).ok());
  EXPECT_TRUE(WaitUntil([&] { return MetricSum(cluster->decodes[0].metrics, metric::kTransfersEnded) == 1; }).ok());
  const auto metrics = ReadMetrics(cluster->decodes[0].metrics);
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_EQ(metrics->at(absl::StrCat(metric::kTransfersEnded, "{outcome=\"aborted\"}")), 1);
  context.TryCancel();
}

TEST(FaultTest, APoolThatHangsHoldsNobodyUpAtTheEnd) {
  ClusterOptions options;
  options.prefill_flags = {"--drain-seconds", "2"};
  options.router_flags = {"--drain-seconds", "2"};
  const auto cluster = Start(options);
  // From now on prefill is connected to the pool.
  ASSERT_TRUE(cluster->Generate(Request(Document(4, 300), "k8v4", 4)).ok());
  ASSERT_TRUE(WaitUntil([&] {
                return MetricSum(cluster->pool.metrics, metric::kPoolChunks) > 0 &&
                       ReservedPages(cluster->decodes[0]) == 0;
              }).ok());
  Running running(*cluster, Request(Document(3, 2400), "k8v4", 4));
  // The plan has come, with leave to publish; the pool hangs before anything can be published.
  ASSERT_TRUE(WaitUntil([&] { return ReservedPages(cluster->decodes[0]) > 0; }).ok());
  cluster->pool.process->Signal(SIGSTOP);
  const auto answer = running.Finish();
  ASSERT_TRUE(answer.ok()) << answer.status();
  // Far below the time that one publication may take (60 s). Status 1 would mean that the last resort was needed.
  const absl::Time limit = absl::Now() + absl::Seconds(40);
  for (Service* service : {&cluster->prefills[0], &cluster->router}) {
    service->process->Signal(SIGTERM);
    const auto exit = service->process->WaitExit(limit);
    ASSERT_TRUE(exit.ok()) << exit.status();
    EXPECT_EQ(*exit, 0);
  }
}

TEST(FaultTest, AClientThatIsGoneFreesItsPages) {
  const auto cluster = Start({});
  Channels channels;
  const auto stub = v1::Generation::NewStub(channels.Get(cluster->router.address));
  grpc::ClientContext context;
  context.set_deadline(ToGrpc(absl::Now() + kPatience));
  const auto stream = stub->Generate(&context, LongAnswer());
  v1::GenerateEvent event;
  while (stream->Read(&event) && !event.has_piece()) {
  }
  EXPECT_GT(ReservedPages(cluster->decodes[0]), 0);
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(WaitUntil([&] { return ReservedPages(cluster->decodes[0]) == 0; }).ok());
}

TEST(FaultTest, TooManyRequestsAreRefused) {
  ClusterOptions options;
  options.router_flags = {"--max-running", "1"};
  const auto cluster = Start(options);
  Running running(*cluster, LongAnswer());
  running.WaitPieces(1);
  EXPECT_EQ(cluster->Generate(Request("hello", "full", 1)).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(running.Finish().ok());
}

TEST(FaultTest, WithoutPagesRequestsWaitAndAreThenRefused) {
  ClusterOptions options;
  options.kv_budget = "14MB";  // less than two long answers need
  options.router_flags = {"--reserve-wait-seconds", "0.3"};
  const auto cluster = Start(options);
  Running running(*cluster, LongAnswer());
  running.WaitPieces(1);
  EXPECT_EQ(cluster->Generate(LongAnswer()).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(running.Finish().ok());
  EXPECT_TRUE(cluster->Generate(Request("hello", "full", 1)).ok());
}

TEST(FaultTest, SigtermLetsRunningAnswersEnd) {
  const auto cluster = Start({});
  v1::GenerateRequest request = LongAnswer();
  const auto undisturbed = cluster->Generate(request);
  ASSERT_TRUE(undisturbed.ok()) << undisturbed.status();
  Running running(*cluster, request);
  running.WaitPieces(3);
  cluster->decodes[0].process->Signal(SIGTERM);
  cluster->router.process->Signal(SIGTERM);
  const auto drained = running.Finish();
  ASSERT_TRUE(drained.ok()) << drained.status();
  EXPECT_THAT(drained->tokens, ElementsAreArray(undisturbed->tokens));
  for (Service* service : {&cluster->decodes[0], &cluster->router}) {
    const auto exit = service->process->WaitExit(absl::Now() + kPatience);
    ASSERT_TRUE(exit.ok()) << exit.status();
    EXPECT_EQ(*exit, 0);
  }
  EXPECT_EQ(cluster->Generate(Request("hello", "full", 1)).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace decant
