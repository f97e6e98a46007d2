// A real Prometheus scrapes every process.
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "tests/e2e/cluster.h"

namespace decant {
namespace {

constexpr char kPrometheus[] = "/usr/bin/prometheus";

// A port that was free a moment ago; Prometheus cannot choose one itself.
std::string FreeAddress() {
  const auto holder = Process::Start({Binary("pool", "decant_pool"), "--metrics", ""});
  if (!holder.ok()) return "";
  const auto ready = (*holder)->WaitLine("ready pool=", absl::Now() + kPatience);
  if (!ready.ok()) return "";
  const std::string rest = ready->substr(std::string("ready pool=").size());
  return rest.substr(0, rest.find(' '));
}

TEST(PrometheusTest, ScrapesEveryProcess) {
  if (!std::ifstream(kPrometheus)) GTEST_SKIP() << "no prometheus here (Debian package prometheus)";
  const auto cluster = Cluster::Start({});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  ASSERT_TRUE((*cluster)->Generate(Request("hello", "k8v4", 2)).ok());
  const std::vector<std::string> targets = {(*cluster)->router.metrics, (*cluster)->pool.metrics,
                                            (*cluster)->prefills[0].metrics, (*cluster)->decodes[0].metrics};
  const std::string folder = absl::StrCat(::testing::TempDir(), "/decant_prometheus_", getpid());
  const std::string config = absl::StrCat(folder, ".yml");
  std::ofstream(config) << "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
                        << "scrape_configs: [{job_name: decant, static_configs: [{targets: ['"
                        << absl::StrJoin(targets, "', '") << "']}]}]\n";
  const std::string address = FreeAddress();
  const auto prometheus =
      Process::Start({kPrometheus, absl::StrCat("--config.file=", config), absl::StrCat("--storage.tsdb.path=", folder),
                      absl::StrCat("--web.listen-address=", address), "--log.level=error"});
  ASSERT_TRUE(prometheus.ok()) << prometheus.status();
  const auto answer = [&](const std::string& query) {
    return HttpGet(address, absl::StrCat("/api/v1/query?query=", query)).value_or("");
  };
  // count(up == 1) is 4, and numbers of all four are there.
  EXPECT_TRUE(WaitUntil([&] { return answer("count(up==1)").find("\"4\"") != std::string::npos; }).ok())
      << answer("up");
  for (const char* name : {"decant_requests_finished_total", "decant_pool_capacity_bytes",
                           "decant_prefill_tokens_computed_total", "decant_pages_total"}) {
    EXPECT_TRUE(WaitUntil([&] { return answer(name).find("\"__name__\"") != std::string::npos; }).ok()) << name;
  }
}

}  // namespace
}  // namespace decant
