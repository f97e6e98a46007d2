#include "services/rpc/call_counter.h"

#include <grpcpp/support/interceptor.h>

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/metrics/names.h"

namespace decant {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;

// "/decant.v1.Decode/Reserve" -> "Decode.Reserve". Only registered methods get here, so the set is closed.
std::string MethodLabel(absl::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos || slash == 0) return "other";
  std::string label(path.substr(1));
  label[slash - 1] = '.';
  constexpr absl::string_view kPackage = "decant.v1.";
  return label.rfind(std::string(kPackage), 0) == 0 ? label.substr(kPackage.size()) : label;
}

class Count final : public Interceptor {
 public:
  Count(Metrics& metrics, absl::string_view path)
      : metrics_(metrics), method_(MethodLabel(path)), start_(absl::Now()) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      const auto code = static_cast<absl::StatusCode>(methods->GetSendStatus().error_code());
      metrics_
          .AddCounter(metric::kRpcsHandled, "Calls that ended, by method and status code",
                      {{"method", method_}, {"code", absl::StatusCodeToString(code)}})
          .Increment();
      metrics_
          .AddHistogram(metric::kRpcSeconds, "Time from the start of a call to its status", Metrics::SecondsBounds(),
                        {{"method", method_}})
          .Observe(absl::ToDoubleSeconds(absl::Now() - start_));
    }
    methods->Proceed();
  }

 private:
  Metrics& metrics_;
  const std::string method_;
  const absl::Time start_;
};

class Factory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit Factory(Metrics& metrics) : metrics_(metrics) {}
  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override { return new Count(metrics_, info->method()); }

 private:
  Metrics& metrics_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> CountCalls(Metrics& metrics) {
  return std::make_unique<Factory>(metrics);
}

}  // namespace decant
