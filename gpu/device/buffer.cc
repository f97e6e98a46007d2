#include "gpu/device/device.h"

namespace decant {

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this == &other) return *this;
  if (address_ != nullptr) device_->Free(address_, bytes_);
  device_ = std::exchange(other.device_, nullptr);
  address_ = std::exchange(other.address_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

Buffer::~Buffer() {
  if (address_ != nullptr) device_->Free(address_, bytes_);
}

MemoryRef Buffer::ref() const {
  const bool host = device_ == nullptr || device_->kind() == DeviceKind::kHost;
  return MemoryRef{host ? MemorySpace::kHost : MemorySpace::kDevice, address_, bytes_};
}

}  // namespace decant
