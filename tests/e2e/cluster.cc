#include "tests/e2e/cluster.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/metrics/names.h"
#include "services/cli/held_out_text.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

absl::StatusOr<Service> Launch(const std::string& room, std::vector<std::string> flags) {
  flags.insert(flags.begin(), Binary(room, absl::StrCat("decant_", room)));
  Service service;
  DECANT_ASSIGN_OR_RETURN(service.process, Process::Start(flags));
  DECANT_ASSIGN_OR_RETURN(const std::string ready, service.process->WaitLine("ready ", absl::Now() + kPatience));
  for (const absl::string_view word : absl::StrSplit(ready, ' ')) {
    const std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(word, absl::MaxSplits('=', 1));
    if (pair.first == room) service.address = std::string(pair.second);
    if (pair.first == "metrics") service.metrics = std::string(pair.second);
  }
  return service;
}

}  // namespace

std::string TinyModel() { return SourceDir() + "/deploy/models/decant-tiny"; }

std::string Binary(const std::string& room, const std::string& name) {
  return absl::StrCat(BinaryDir(), "/services/", room, "/", name);
}

absl::StatusOr<std::unique_ptr<Cluster>> Cluster::Start(const ClusterOptions& options) {
  auto cluster = std::make_unique<Cluster>();
  cluster->options_ = options;
  std::vector<std::string> router_flags = {"--model", TinyModel()};
  if (options.pool) {
    DECANT_ASSIGN_OR_RETURN(cluster->pool, Launch("pool", options.pool_flags));
    router_flags.insert(router_flags.end(), {"--pool", cluster->pool.address});
  }
  router_flags.insert(router_flags.end(), options.router_flags.begin(), options.router_flags.end());
  DECANT_ASSIGN_OR_RETURN(cluster->router, Launch("router", router_flags));
  for (int i = 0; i < options.prefills; ++i) DECANT_RETURN_IF_ERROR(cluster->AddPrefill());
  for (int i = 0; i < options.decodes; ++i) DECANT_RETURN_IF_ERROR(cluster->AddDecode());
  DECANT_RETURN_IF_ERROR(cluster->WaitWorkers(options.prefills, options.decodes));
  return cluster;
}

absl::Status Cluster::AddPrefill() {
  std::vector<std::string> flags = {"--model", TinyModel(), "--router",  router.address,
                                    "--dtype", "f32",       "--threads", "1"};
  flags.insert(flags.end(), options_.prefill_flags.begin(), options_.prefill_flags.end());
  DECANT_ASSIGN_OR_RETURN(Service service, Launch("prefill", flags));
  prefills.push_back(std::move(service));
  return absl::OkStatus();
}

absl::Status Cluster::AddDecode() {
  std::vector<std::string> flags = {"--model", TinyModel(), "--router",  router.address,
                                    "--dtype", "f32",       "--threads", "1"};
  flags.insert(flags.end(), options_.decode_flags.begin(), options_.decode_flags.end());
  flags.insert(flags.end(), {"--kv-budget", options_.kv_budget});
  DECANT_ASSIGN_OR_RETURN(Service service, Launch("decode", flags));
  decodes.push_back(std::move(service));
  return absl::OkStatus();
}

absl::Status Cluster::RestartPool() {
  std::vector<std::string> flags = options_.pool_flags;
  flags.insert(flags.end(), {"--listen", pool.address});
  DECANT_ASSIGN_OR_RETURN(pool, Launch("pool", flags));
  return absl::OkStatus();
}

absl::Status Cluster::WaitWorkers(int prefill_count, int decode_count) {
  const auto known = [&](const char* kind) {
    const auto metrics = ReadMetrics(router.metrics);
    const std::string name = absl::StrCat(metric::kWorkersKnown, "{kind=\"", kind, "\"}");
    return metrics.ok() && metrics->contains(name) ? metrics->at(name) : -1;
  };
  return WaitUntil([&] { return known("prefill") == prefill_count && known("decode") == decode_count; });
}

absl::StatusOr<Generated> Cluster::Generate(const v1::GenerateRequest& request,
                                            const std::function<void(absl::string_view)>& on_text) {
  return GenerateOnce(router.address, request, kPatience, on_text);
}

absl::StatusOr<std::string> HttpGet(const std::string& address, const std::string& path) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(address, ':');
  int port = 0;
  if (!absl::SimpleAtoi(parts.second, &port)) return absl::InvalidArgumentError(address);
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, parts.first.c_str(), &to.sin_addr);
  timeval patience{10, 0};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  std::string reply;
  if (connect(connection, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) {
    const std::string request = absl::StrCat("GET ", path, " HTTP/1.0\r\nHost: ", address, "\r\n\r\n");
    if (send(connection, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
      char bytes[8192];
      for (ssize_t count; (count = recv(connection, bytes, sizeof(bytes), 0)) > 0;) {
        reply.append(bytes, static_cast<size_t>(count));
      }
    }
  }
  close(connection);
  const size_t body = reply.find("\r\n\r\n");
  if (body == std::string::npos) return absl::UnavailableError(absl::StrCat("no HTTP answer from ", address));
  return reply.substr(body + 4);
}

absl::StatusOr<std::map<std::string, double>> ReadMetrics(const std::string& address) {
  DECANT_ASSIGN_OR_RETURN(const std::string text, HttpGet(address, "/metrics"));
  std::map<std::string, double> metrics;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const size_t space = line.rfind(' ');
    double value = 0;
    if (line.empty() || line[0] == '#' || space == absl::string_view::npos) continue;
    if (absl::SimpleAtod(line.substr(space + 1), &value)) metrics[std::string(line.substr(0, space))] = value;
  }
  return metrics;
}

double MetricSum(const std::string& address, const std::string& name) {
  const auto metrics = ReadMetrics(address);
  double sum = 0;
  if (!metrics.ok()) return sum;
  for (const auto& [key, value] : *metrics) {
    if (key == name || key.compare(0, name.size() + 1, name + "{") == 0) sum += value;
  }
  return sum;
}

absl::Status WaitUntil(const std::function<bool()>& done, absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  while (!done()) {
    if (absl::Now() > deadline) return absl::DeadlineExceededError("what was waited for did not come");
    absl::SleepFor(absl::Milliseconds(10));
  }
  return absl::OkStatus();
}

std::string Document(uint64_t seed, int32_t words) { return HeldOutText(seed, words); }

v1::GenerateRequest Request(const std::string& text, const std::string& profile, int32_t max_tokens) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.set_profile(profile);
  request.set_max_tokens(max_tokens);
  return request;
}

}  // namespace decant
