#include "services/rpc/server.h"

#include <arpa/inet.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/metrics/names.h"
#include "services/rpc/call_counter.h"
#include "services/rpc/channel.h"
#include "services/rpc/log.h"
#include "services/rpc/metrics.h"
#include "services/rpc/status_edge.h"

namespace decant {
namespace {

// Every server of Tune's tuning; the port is not shared, so that a taken one is an error.
class Tuning final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* arguments) override {
    Tune(*arguments);
    arguments->SetInt(GRPC_ARG_ALLOW_REUSEPORT, 0);
  }
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>*) override {}
};

}  // namespace

struct Server::Parts {
  ServerOptions options;
  std::unique_ptr<MetricsEndpoint> metrics_endpoint;
  std::unique_ptr<grpc::Server> server;
  Gauge draining_gauge;
  std::atomic<bool> draining{false};
  absl::Mutex drain_mutex;
  bool drained ABSL_GUARDED_BY(drain_mutex) = false;
};

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options) {
  DECANT_RETURN_IF_ERROR(CheckLoopback(options.listen));
  TuneProcess();
  KeepCallbackThreads();
  static std::once_flag plugins;
  std::call_once(plugins, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });

  auto parts = std::make_unique<Parts>();
  parts->options = std::move(options);
  const ServerOptions& kept = parts->options;
  grpc::ServerBuilder builder;
  builder.SetOption(std::make_unique<Tuning>());
  builder.SetMaxReceiveMessageSize(static_cast<int>(kept.max_message_bytes));
  builder.SetMaxSendMessageSize(static_cast<int>(kept.max_message_bytes));
  int port = 0;
  builder.AddListeningPort(kept.listen, grpc::InsecureServerCredentials(), &port);
  for (grpc::Service* service : kept.services) builder.RegisterService(service);
  std::string metrics_address;
  if (kept.metrics != nullptr) {
    parts->draining_gauge = kept.metrics->AddGauge(metric::kProcessDraining, "1 while the process drains");
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
    interceptors.push_back(CountCalls(*kept.metrics));
    builder.experimental().SetInterceptorCreators(std::move(interceptors));
    if (!kept.metrics_listen.empty()) {
      DECANT_ASSIGN_OR_RETURN(parts->metrics_endpoint, MetricsEndpoint::Start(kept.metrics_listen, *kept.metrics));
      metrics_address = parts->metrics_endpoint->address();
    }
  }
  parts->server = builder.BuildAndStart();
  if (parts->server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("can't listen on ", kept.listen, "; choose a port that is free, or 0 for any"));
  }
  const std::string host = kept.listen.substr(0, kept.listen.rfind(':'));
  auto server = std::unique_ptr<Server>(new Server(std::move(parts)));
  server->address_ = absl::StrCat(host, ":", port);
  server->metrics_address_ = std::move(metrics_address);
  Log(LogLevel::kInfo, absl::StrCat("serves on ", server->address_, ", metrics on ",
                                    server->metrics_address_.empty() ? "nothing" : server->metrics_address_));
  return server;
}

Server::~Server() {
  if (parts_ != nullptr) DrainUntil(absl::Now());
}

void Server::Drain() { DrainUntil(absl::Now() + parts_->options.drain_limit); }

bool Server::draining() const { return parts_->draining.load(); }

void Server::DrainUntil(absl::Time limit) {
  absl::MutexLock lock(&parts_->drain_mutex);
  if (parts_->drained) return;
  parts_->draining = true;
  parts_->draining_gauge.Set(1);
  Log(LogLevel::kInfo,
      absl::StrCat("drain begins, at most ",
                   absl::FormatDuration(
                       std::max(absl::ZeroDuration(), absl::Ceil(limit - absl::Now(), absl::Milliseconds(100))))));
  parts_->server->GetHealthCheckService()->SetServingStatus(false);
  if (parts_->options.on_drain) parts_->options.on_drain(limit);
  parts_->server->Shutdown(ToGrpc(limit));
  parts_->drained = true;
  Log(LogLevel::kInfo, "drain ended");
}

void TuneProcess() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Buffers of up to 32 MiB (the most glibc accepts) come from the heap and stay there: a fresh mapping per message
    // costs a page fault every 4 KiB. Two arenas keep what is kept small.
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 128 << 20);
    mallopt(M_TOP_PAD, 16 << 20);
    mallopt(M_ARENA_MAX, 2);
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  });
}

absl::Status CheckLoopback(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("\"", address, "\" is no HOST:PORT; an example is 127.0.0.1:0"));
  }
  const std::string host = address.substr(0, colon);
  in_addr v4{};
  const bool is_v4 = inet_pton(AF_INET, host.c_str(), &v4) == 1;
  if (host == "localhost" || host == "[::1]" || (is_v4 && (ntohl(v4.s_addr) >> 24) == 127)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("will not listen on ", address,
                   ": without TLS only loopback addresses are served; use 127.0.0.1, or a proxy that brings TLS"));
}

}  // namespace decant
