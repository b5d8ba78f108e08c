"""The stock car's dynamics without the work that only serves its drawing."""

from math import sqrt

from gymnasium.envs.box2d.car_dynamics import (
    ENGINE_POWER,
    FRICTION_LIMIT,
    SIZE,
    WHEEL_MOMENT_OF_INERTIA,
    Car,
)

BRAKE_FORCE = 15  # radians per second
STIFFNESS = 205000 * SIZE * SIZE
ON_GRASS = FRICTION_LIMIT * 0.6


def _sign(value: float) -> float:
    """Sign of a number, as ``numpy.sign`` gives it."""
    return 1.0 if value > 0 else -1.0 if value < 0 else 0.0


class LeanCar(Car):
    """
    Moves bit for bit as ``gymnasium.envs.box2d.car_dynamics.Car`` does, in less time.

    It keeps no skid marks (they are drawn in videos, never in the observation), computes with Python's floats where the stock
    car uses NumPy scalars, and asks Box2D for one axis of each wheel: the other is the same two numbers, turned.
    The order of the arithmetic operations is the stock car's, since another order rounds differently.
    """

    def gas(self, gas: float) -> None:
        """
        Open the throttle of the rear wheels by at most 0.1 a step; it closes at once.

        :param gas: wanted throttle, clipped to [0, 1].
        """
        wanted = min(max(float(gas), 0.0), 1.0)
        for wheel in self.wheels[2:4]:
            wheel.gas += min(wanted - wheel.gas, 0.1)

    def step(self, dt: float) -> None:
        """
        Apply steering, motor, brakes and tyre friction to the four wheels.

        :param dt: length of the step in seconds.
        """
        for wheel in self.wheels:
            state = wheel.__dict__
            joint = state["joint"]
            gas, brake, omega, radius = state["gas"], state["brake"], state["omega"], state["wheel_rad"]
            error = state["steer"] - joint.angle
            joint.motorSpeed = _sign(error) * min(50.0 * abs(error), 3.0)

            # Every road tile has the same friction, so that it is enough to know whether the wheel stands on any.
            limit = FRICTION_LIMIT if state["tiles"] else ON_GRASS

            # The wheel's side axis is (c, s), so its forward axis is (-s, c): exactly what Box2D computes for it.
            c, s = wheel.GetWorldVector((1, 0))
            vx, vy = wheel.linearVelocity
            forward_speed = -s * vx + c * vy
            side_speed = c * vx + s * vy

            omega += dt * ENGINE_POWER * gas / WHEEL_MOMENT_OF_INERTIA / (abs(omega) + 5.0)
            self.fuel_spent += dt * ENGINE_POWER * gas
            if brake >= 0.9:
                omega = 0
            elif brake > 0:
                omega += -_sign(omega) * min(BRAKE_FORCE * brake, abs(omega))
            state["phase"] += omega * dt

            forward_force = (-forward_speed + omega * radius) * STIFFNESS
            side_force = -side_speed * STIFFNESS
            force = sqrt(forward_force * forward_force + side_force * side_force)
            if force > limit:
                forward_force = forward_force / force * limit
                side_force = side_force / force * limit
            state["omega"] = omega - dt * forward_force * radius / WHEEL_MOMENT_OF_INERTIA
            wheel.ApplyForceToCenter((side_force * c - forward_force * s, side_force * s + forward_force * c), True)
