// Counters, gauges and histograms of one process, and the /metrics endpoint that shows them to Prometheus.
#ifndef DECANT_SERVICES_RPC_METRICS_H_
#define DECANT_SERVICES_RPC_METRICS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
class Registry;
}  // namespace prometheus

namespace decant {

// Handles: cheap to copy, thread-safe, valid while their Metrics lives. A default one does nothing, so that a core can
// be built without metrics.
class Counter {
 public:
  Counter() = default;
  explicit Counter(prometheus::Counter& counter) : counter_(&counter) {}
  void Increment(double by = 1) const;  // by >= 0

 private:
  prometheus::Counter* counter_ = nullptr;
};

class Gauge {
 public:
  Gauge() = default;
  explicit Gauge(prometheus::Gauge& gauge) : gauge_(&gauge) {}
  void Set(double value) const;
  void Add(double by) const;

 private:
  prometheus::Gauge* gauge_ = nullptr;
};

class Histogram {
 public:
  Histogram() = default;
  explicit Histogram(prometheus::Histogram& histogram) : histogram_(&histogram) {}
  void Observe(double value) const;

 private:
  prometheus::Histogram* histogram_ = nullptr;
};

// Thread-safe.
class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;
  // Label values come from closed sets. Should one not, a name keeps this many children and all further values share
  // one child whose values are "other", so that no input can fill the memory.
  static constexpr size_t kMostChildren = 512;

  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // `name` from common/metrics/names.h. The same name and labels give the same child; one name has one kind and one
  // help.
  Counter AddCounter(absl::string_view name, absl::string_view help, const Labels& labels = {});
  Gauge AddGauge(absl::string_view name, absl::string_view help, const Labels& labels = {});
  // `bounds`: upper bounds of the buckets, ascending. Of one name all children have those of the first.
  Histogram AddHistogram(absl::string_view name, absl::string_view help, const std::vector<double>& bounds,
                         const Labels& labels = {});
  // 1 ms to 100 s, about 2.2 times apart.
  static std::vector<double> SecondsBounds();

  // The text Prometheus reads.
  std::string Render() const;

 private:
  friend class MetricsEndpoint;
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// Serves /metrics over HTTP while it lives.
class MetricsEndpoint {
 public:
  // `listen` as ServerOptions.metrics_listen, loopback only. `metrics` must outlive it.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(const std::string& listen, Metrics& metrics);
  ~MetricsEndpoint();

  const std::string& address() const { return address_; }

 private:
  struct Parts;
  explicit MetricsEndpoint(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
  std::string address_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_METRICS_H_
