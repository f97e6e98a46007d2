#include "services/rpc/metrics.h"

#include <netdb.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "services/rpc/server.h"

namespace decant {
namespace {

// The children of one name.
template <typename T>
struct Children {
  prometheus::Family<T>* family = nullptr;
  std::map<Metrics::Labels, T*> by_labels;
};

template <typename T, typename... Bounds>
T& Child(Children<T>& children, const Metrics::Labels& labels, const Bounds&... bounds) {
  Metrics::Labels bounded = labels;
  if (children.by_labels.size() >= Metrics::kMostChildren && children.by_labels.count(labels) == 0) {
    for (auto& [key, value] : bounded) value = "other";
  }
  T*& child = children.by_labels[bounded];
  if (child == nullptr) child = &children.family->Add(bounded, bounds...);
  return *child;
}

// Connects and goes away again; whether that works does not matter.
void Knock(const std::string& address) {
  const size_t colon = address.rfind(':');
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found) != 0) return;
  if (const int knocker = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); knocker >= 0) {
    (void)connect(knocker, found->ai_addr, found->ai_addrlen);
    close(knocker);
  }
  freeaddrinfo(found);
}

}  // namespace

void Counter::Increment(double by) const {
  if (counter_ != nullptr) counter_->Increment(by);
}
void Gauge::Set(double value) const {
  if (gauge_ != nullptr) gauge_->Set(value);
}
void Gauge::Add(double by) const {
  if (gauge_ != nullptr) gauge_->Increment(by);
}
void Histogram::Observe(double value) const {
  if (histogram_ != nullptr) histogram_->Observe(value);
}

struct Metrics::Parts {
  struct HistogramName {
    Children<prometheus::Histogram> children;
    prometheus::Histogram::BucketBoundaries bounds;
  };

  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  absl::Mutex mutex;
  std::map<std::string, Children<prometheus::Counter>> counters ABSL_GUARDED_BY(mutex);
  std::map<std::string, Children<prometheus::Gauge>> gauges ABSL_GUARDED_BY(mutex);
  std::map<std::string, HistogramName> histograms ABSL_GUARDED_BY(mutex);
};

Metrics::Metrics() : parts_(std::make_unique<Parts>()) {}
Metrics::~Metrics() = default;

Counter Metrics::AddCounter(absl::string_view name, absl::string_view help, const Labels& labels) {
  absl::MutexLock lock(&parts_->mutex);
  auto& children = parts_->counters[std::string(name)];
  if (children.family == nullptr) {
    children.family =
        &prometheus::BuildCounter().Name(std::string(name)).Help(std::string(help)).Register(*parts_->registry);
  }
  return Counter(Child(children, labels));
}

Gauge Metrics::AddGauge(absl::string_view name, absl::string_view help, const Labels& labels) {
  absl::MutexLock lock(&parts_->mutex);
  auto& children = parts_->gauges[std::string(name)];
  if (children.family == nullptr) {
    children.family =
        &prometheus::BuildGauge().Name(std::string(name)).Help(std::string(help)).Register(*parts_->registry);
  }
  return Gauge(Child(children, labels));
}

Histogram Metrics::AddHistogram(absl::string_view name, absl::string_view help, const std::vector<double>& bounds,
                                const Labels& labels) {
  absl::MutexLock lock(&parts_->mutex);
  auto& named = parts_->histograms[std::string(name)];
  if (named.children.family == nullptr) {
    named.children.family =
        &prometheus::BuildHistogram().Name(std::string(name)).Help(std::string(help)).Register(*parts_->registry);
    named.bounds = prometheus::Histogram::BucketBoundaries(bounds.begin(), bounds.end());
  }
  return Histogram(Child(named.children, labels, named.bounds));
}

std::vector<double> Metrics::SecondsBounds() {
  return {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100};
}

std::string Metrics::Render() const { return prometheus::TextSerializer().Serialize(parts_->registry->Collect()); }

struct MetricsEndpoint::Parts {
  std::unique_ptr<prometheus::Exposer> exposer;
};

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

// The web server looks only every two seconds whether it is to stop, unless somebody connects: so somebody does.
MetricsEndpoint::~MetricsEndpoint() {
  std::atomic<bool> stopped{false};
  std::thread stopper([&] {
    parts_->exposer.reset();
    stopped = true;
  });
  while (!stopped) {
    Knock(address_);
    absl::SleepFor(absl::Milliseconds(5));
  }
  stopper.join();
}

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const std::string& listen, Metrics& metrics) {
  if (absl::Status loopback = CheckLoopback(listen); !loopback.ok()) return loopback;
  // The web server under the exposer reads numbers only.
  const size_t colon = listen.rfind(':');
  const std::string host = listen.substr(0, colon) == "localhost" ? "127.0.0.1" : listen.substr(0, colon);
  auto parts = std::make_unique<Parts>();
  try {
    parts->exposer = std::make_unique<prometheus::Exposer>(absl::StrCat(host, listen.substr(colon)), 1);
  } catch (const std::exception& e) {
    return absl::UnavailableError(
        absl::StrCat("can't serve /metrics on ", listen, ": ", e.what(), "; choose another port or 0 for any"));
  }
  parts->exposer->RegisterCollectable(metrics.parts_->registry);
  const int port = parts->exposer->GetListeningPorts().at(0);
  auto endpoint = std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(std::move(parts)));
  endpoint->address_ = absl::StrCat(host, ":", port);
  return endpoint;
}

}  // namespace decant
