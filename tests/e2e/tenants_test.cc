// Tenants through the four processes: nobody uses, learns of or pushes out another's chunks; and hints with receipts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/metrics/names.h"
#include "tests/e2e/cluster.h"

namespace decant {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string FileWith(const std::string& name, const std::string& content) {
  const std::string path = absl::StrCat(testing::TempDir(), "/tenants_test_", name);
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

class TenantsTest : public testing::Test {
 protected:
  void Start(std::vector<std::string> pool_flags) {
    ClusterOptions options;
    options.pool_flags = std::move(pool_flags);
    options.router_flags = {"--tenant-secret", FileWith("secret", "not so random, but long enough\n")};
    auto cluster = Cluster::Start(options);
    DECANT_CHECK_MSG(cluster.ok(), "%s", cluster.status().ToString().c_str());
    cluster_ = *std::move(cluster);
  }
  double Published() const { return MetricSum(cluster_->pool.metrics, metric::kPoolPublished); }

  // Asks as `tenant`, waits until the prompt's chunks were offered to the pool, and returns the tokens it reused.
  int Ask(const std::string& tenant, uint64_t document, const std::string& request_id = "") {
    const double before = Published();
    v1::GenerateRequest request = decant::Request(Document(document, 250), "full", 2);
    request.set_request_id(request_id);
    const auto answer = GenerateOnce(
        cluster_->router.address, request, kPatience, [](absl::string_view) {}, tenant);
    EXPECT_TRUE(answer.ok()) << answer.status();
    if (!answer.ok()) return -1;
    const int reused = answer->finished.prefix_tokens_reused();
    const int whole = answer->finished.prompt_tokens() / 64 * 64;
    if (reused + 64 < whole) {
      EXPECT_TRUE(WaitUntil([&] { return Published() > before; }).ok());
    }
    return reused;
  }

  std::unique_ptr<Cluster> cluster_;
};

TEST_F(TenantsTest, ReuseWithinATenantAndNeverAcross) {
  Start({});
  EXPECT_EQ(Ask("amber", 1, "r1"), 0);
  const double chunks = MetricSum(cluster_->pool.metrics, metric::kPoolChunks);
  EXPECT_GT(Ask("amber", 1), 0);
  EXPECT_EQ(Ask("basil", 1, "r2"), 0);
  EXPECT_GT(Ask("basil", 1), 0);
  EXPECT_EQ(Ask("", 1), 0);
  EXPECT_EQ(MetricSum(cluster_->pool.metrics, metric::kPoolChunks), 3 * chunks) << "each has its own";

  EXPECT_TRUE(ExplainOnce(cluster_->router.address, "r1", "amber").ok());
  EXPECT_EQ(ExplainOnce(cluster_->router.address, "r1", "basil").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ExplainOnce(cluster_->router.address, "r2", "").status().code(), absl::StatusCode::kNotFound);
  // Metrics are the operator's, and still name nobody.
  for (const std::string& metrics : {cluster_->router.metrics, cluster_->pool.metrics, cluster_->prefills[0].metrics,
                                     cluster_->decodes[0].metrics}) {
    const std::string text = HttpGet(metrics, "/metrics").value_or("amber");
    EXPECT_THAT(text, Not(HasSubstr("amber")));
    EXPECT_THAT(text, Not(HasSubstr("basil")));
  }
}

// A document of `full` takes some 2.2 MB in f32: the quota holds two of them.
TEST_F(TenantsTest, AFullQuotaCostsItsOwnerOnly) {
  const std::string tenants = FileWith("quotas.json", R"({"tenants": {"small": {"quota_bytes": 5000000}}})");
  Start({"--pool-bytes", "64MB", "--ladder", "", "--tenants", tenants});
  EXPECT_EQ(Ask("large", 9), 0);
  for (uint64_t document = 1; document <= 4; ++document) EXPECT_EQ(Ask("small", document), 0);
  EXPECT_TRUE(WaitUntil([&] { return MetricSum(cluster_->pool.metrics, metric::kPoolEvicted) > 0; }).ok());
  const int whole = Ask("large", 9);
  EXPECT_GT(whole, 0);
  EXPECT_EQ(Ask("small", 4), whole) << "the newest is whole";
  EXPECT_LT(Ask("small", 1), whole) << "the oldest went";
}

TEST_F(TenantsTest, HintsAreExecutedWithReceipts) {
  Start({"--pool-bytes", "7MB", "--ladder", ""});
  const auto hint = [&](const std::string& tenant, const std::string& type, const std::string& more) {
    nlohmann::json payload = nlohmann::json::parse(more);
    payload["text"] = Document(1, 250);
    const nlohmann::json envelope = {
        {"protocol_version", "0.1"},
        {"message_id", "m1"},
        {"actions", {{{"action_id", "a1"}, {"action_type", type}, {"action_version", "0.1"}, {"payload", payload}}}}};
    const std::string file = FileWith("hint.json", envelope.dump());
    auto process = Process::Start(
        {Binary("cli", "decant"), "hint", "--router", cluster_->router.address, "--tenant", tenant, file});
    DECANT_CHECK(process.ok());
    const auto output = (*process)->ReadAll(absl::Now() + kPatience);
    EXPECT_EQ((*process)->WaitExit(absl::Now() + kPatience).value_or(-1), 0);
    const auto reply = nlohmann::json::parse(output.value_or(""), nullptr, false);
    EXPECT_TRUE(reply.is_object() && reply["receipts"].size() == 1) << output.value_or("");
    return reply.is_object() ? reply["receipts"][0] : nlohmann::json::object();
  };
  EXPECT_EQ(Ask("amber", 1), 0);
  const auto retained = hint("amber", "kv.retain", R"({"priority": 90, "duration_ms": 600000})");
  EXPECT_EQ(retained["outcome"], "executed") << retained;
  EXPECT_GT(retained["bytes"].get<int64_t>(), 0);
  EXPECT_EQ(retained["priority"], 90);
  const auto stranger = hint("basil", "kv.evict", "{}");
  EXPECT_EQ(stranger["outcome"], "refused") << "another's chunks are not there";
  for (uint64_t document = 2; document <= 5; ++document) Ask("amber", document);
  EXPECT_GT(Ask("amber", 1), 0) << "it is older than all others and stays";
  const auto released = hint("amber", "kv.release", R"({"drop": true})");
  EXPECT_EQ(released["outcome"], "executed") << released;
  EXPECT_GT(released["chunks"].get<int>(), 0);
  EXPECT_EQ(hint("amber", "kv.prefetch", "{}")["outcome"], "refused") << "nothing of it is left";
}

}  // namespace
}  // namespace decant
