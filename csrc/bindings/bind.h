// What the bindings of every op share: addresses and sizes come in, nothing else. Python checks shapes, dtypes and contiguity.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "core/philox.h"
#include "core/row_lists.h"

// What Python hands over: the address of a tensor's first element, 0 where there is none.
struct Address {
  std::uintptr_t value;
  template <class T>
  operator T*() const {
    return reinterpret_cast<T*>(value);
  }
};

namespace pybind11::detail {
template <>
struct type_caster<Address> {
  PYBIND11_TYPE_CASTER(Address, const_name("int"));
  bool load(handle source, bool) {
    value.value = PyLong_AsSize_t(source.ptr());
    return !PyErr_Occurred();
  }
};
}  // namespace pybind11::detail

inline b4r::Dropout dropout(int64_t seed, int32_t threshold) {
  return {static_cast<uint64_t>(seed), threshold, 65536.0f / static_cast<float>(65536 - threshold)};
}

// One list a user, rows[offsets[user]] ... rows[offsets[user + 1] - 1]; no list where rows is null.
inline b4r::RowLists row_lists(const int64_t* rows, const int32_t* offsets, int64_t users, int threads) {
  if (rows == nullptr) return {};
  return {rows, users, [=](int64_t user) { return static_cast<int64_t>(offsets[user]); }, threads};
}

using without_gil = pybind11::call_guard<pybind11::gil_scoped_release>;
