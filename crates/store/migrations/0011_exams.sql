-- Device exams.

-- A lease that a device exam holds: `order_id` is the exam's id, and the lease ends by itself if nobody gives it back.
ALTER TABLE leases ADD COLUMN exam_until timestamptz;
CREATE INDEX leases_exams ON leases (exam_until) WHERE exam_until IS NOT NULL;
