// The real binaries on loopback, with the bundled model, for one test.
#ifndef DECANT_TESTS_E2E_CLUSTER_H_
#define DECANT_TESTS_E2E_CLUSTER_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "decant/v1/generation.pb.h"
#include "services/cli/client.h"
#include "tests/e2e/process.h"

namespace decant {

// Far beyond what a loaded machine needs; nothing waits this long when all is well.
inline constexpr absl::Duration kPatience = absl::Seconds(60);

std::string TinyModel();
std::string Binary(const std::string& room, const std::string& name);

struct Service {
  std::unique_ptr<Process> process;
  std::string address;
  std::string metrics;
};

struct ClusterOptions {
  int prefills = 1;
  int decodes = 1;
  bool pool = true;
  std::vector<std::string> router_flags;
  std::vector<std::string> pool_flags;
  std::vector<std::string> prefill_flags;
  std::vector<std::string> decode_flags;
  std::string kv_budget = "64MB";  // of every decode worker
};

class Cluster {
 public:
  // Returns when the router knows every worker.
  static absl::StatusOr<std::unique_ptr<Cluster>> Start(const ClusterOptions& options);

  absl::Status AddPrefill();
  absl::Status AddDecode();
  // A new pool, with the address of the one that has ended.
  absl::Status RestartPool();
  // Until the router counts this many.
  absl::Status WaitWorkers(int prefills, int decodes);

  absl::StatusOr<Generated> Generate(
      const v1::GenerateRequest& request,
      const std::function<void(absl::string_view)>& on_text = [](absl::string_view) {});

  Service router;
  Service pool;
  std::vector<Service> prefills;
  std::vector<Service> decodes;

 private:
  ClusterOptions options_;
};

// The body of one HTTP/1.0 GET.
absl::StatusOr<std::string> HttpGet(const std::string& address, const std::string& path);
// Every metric of a process, by its line's text before the value: `name{label="x"}`.
absl::StatusOr<std::map<std::string, double>> ReadMetrics(const std::string& address);
// The sum over the children of `name`; 0 when there is none.
double MetricSum(const std::string& address, const std::string& name);
// OK once `done` holds; asks again every few milliseconds.
absl::Status WaitUntil(const std::function<bool()>& done, absl::Duration limit = kPatience);

// A document with facts in it, about `words` long, and a question about the person.
std::string Document(uint64_t seed, int32_t words);
v1::GenerateRequest Request(const std::string& text, const std::string& profile, int32_t max_tokens);

}  // namespace decant

#endif  // DECANT_TESTS_E2E_CLUSTER_H_
